"""Kubeconfigs from files and from Secrets: what works, and the error message if something does not."""

from __future__ import annotations

import base64
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trustme

from tests.unit.kubeconfigs import (
    SECRET,
    Document,
    answer,
    authorization_of,
    certificate_user,
    error_message,
    exec_user,
    from_secret,
    kubeconfig,
    plugin,
    write,
)
from vk_provider.kube.auth.kubeconfig import Kubeconfig, find_credentials

pytestmark = pytest.mark.usefixtures("empty_home")


class TestFiles:
    async def test_a_token_works(self, tmp_path: Path) -> None:
        assert await authorization_of(write(tmp_path / "config", kubeconfig())) == f"Bearer {SECRET}"

    def test_the_server_is_the_one_of_the_context(self, tmp_path: Path) -> None:
        path = write(tmp_path / "config", kubeconfig())
        assert Kubeconfig.from_files(path).credentials().server == "https://east.example.com:6443"

    def test_another_context_can_be_chosen(self, tmp_path: Path) -> None:
        document = kubeconfig()
        document["contexts"].append({"name": "west", "context": {"cluster": "west", "user": "admin"}})
        document["clusters"].append({"name": "west", "cluster": {"server": "https://west.example.com"}})
        path = write(tmp_path / "config", document)
        assert Kubeconfig.from_files(path, "west").cluster["server"] == "https://west.example.com"

    def test_the_error_names_a_missing_file(self, tmp_path: Path) -> None:
        path = str(tmp_path / "none")
        assert error_message(lambda: Kubeconfig.from_files(path)) == f"kubeconfig {path}: no such file"

    def test_a_directory_is_rejected(self, tmp_path: Path) -> None:
        assert str(tmp_path) in error_message(lambda: Kubeconfig.from_files(str(tmp_path)))

    @pytest.mark.parametrize("text", ["{", "[]", "just words", "a: b: c", "\x00", ""])
    def test_the_error_about_malformed_content_names_the_file(self, tmp_path: Path, text: str) -> None:
        path = write(tmp_path / "config", text)
        assert path in error_message(lambda: Kubeconfig.from_files(path))

    def test_the_error_names_a_missing_context(self, tmp_path: Path) -> None:
        path = write(tmp_path / "config", kubeconfig())
        message = error_message(lambda: Kubeconfig.from_files(path, "west"))
        assert path in message and "west" in message

    @pytest.mark.parametrize("missing", ["current-context", "contexts", "clusters", "users"])
    def test_the_error_names_a_missing_section(self, tmp_path: Path, missing: str) -> None:
        document = kubeconfig()
        del document[missing]
        path = write(tmp_path / "config", document)
        assert missing in error_message(lambda: Kubeconfig.from_files(path))

    @pytest.mark.parametrize("kind", ["clusters", "users"])
    def test_a_context_with_an_unknown_cluster_or_user_is_rejected(self, tmp_path: Path, kind: str) -> None:
        path = write(tmp_path / "config", kubeconfig() | {kind: []})
        assert kind in error_message(lambda: Kubeconfig.from_files(path))

    def test_the_error_about_a_cluster_without_a_server_names_the_context(self, tmp_path: Path) -> None:
        document = kubeconfig()
        del document["clusters"][0]["cluster"]["server"]
        document["clusters"][0]["cluster"]["insecure-skip-tls-verify"] = True
        path = write(tmp_path / "config", document)
        assert error_message(lambda: Kubeconfig.from_files(path)) == f"kubeconfig {path}: context east names no server"

    def test_the_error_about_an_auth_provider_names_an_alternative(self, tmp_path: Path) -> None:
        user = {"auth-provider": {"name": "oidc", "config": {"id-token": SECRET}}}
        path = write(tmp_path / "config", kubeconfig(user))
        message = error_message(lambda: Kubeconfig.from_files(path))
        assert "auth-provider" in message and "use a token" in message

    def test_two_files_in_the_variable_kubeconfig_are_merged(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        whole = kubeconfig()
        one = write(tmp_path / "one", {**whole, "users": []})
        two = write(tmp_path / "two", {**whole, "clusters": [], "contexts": []})
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join([one, two]))
        merged = Kubeconfig.from_files()
        assert (merged.cluster["server"], merged.user["token"]) == ("https://east.example.com:6443", SECRET)

    def test_a_missing_file_in_the_variable_kubeconfig_is_skipped(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(
            "KUBECONFIG", os.pathsep.join([str(tmp_path / "none"), write(tmp_path / "one", kubeconfig())])
        )
        assert Kubeconfig.from_files().context == "east"

    def test_paths_are_relative_to_the_kubeconfig_that_contains_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "etc"
        folder.mkdir()
        (folder / "ca.crt").write_text("the CA")
        path = write(folder / "config", kubeconfig(cluster={"certificate-authority": "ca.crt"}))
        monkeypatch.chdir(tmp_path)
        data = Kubeconfig.from_files(path).cluster["certificate-authority-data"]
        assert base64.b64decode(data) == b"the CA"

    def test_paths_of_a_merged_file_are_relative_to_that_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "users"
        folder.mkdir()
        (folder / "token").write_text("from the other folder")
        one = write(tmp_path / "one", kubeconfig(users=[]))
        two = write(folder / "two", kubeconfig({"tokenFile": "token"}, clusters=[], contexts=[]))
        monkeypatch.setenv("KUBECONFIG", os.pathsep.join([one, two]))
        assert Kubeconfig.from_files().user["token"] == "from the other folder"

    @pytest.mark.parametrize(
        ("user", "cluster", "field"),
        [
            (None, {"certificate-authority": "none.crt"}, "certificate-authority"),
            ({"client-certificate": "none.crt", "client-key": "none.key"}, {}, "client-certificate"),
            ({"tokenFile": "none"}, {}, "tokenFile"),
        ],
    )
    def test_the_error_about_a_missing_referenced_file_names_file_and_field(
        self, tmp_path: Path, user: Document | None, cluster: Document, field: str
    ) -> None:
        path = write(tmp_path / "config", kubeconfig(user, cluster))
        message = error_message(lambda: Kubeconfig.from_files(path))
        assert field in message and "none" in message and path in message

    def test_the_error_about_a_missing_configuration_names_what_to_set(self) -> None:
        assert error_message(find_credentials) == (
            "no parent cluster is configured; set KUBECONFIG or pass --kubeconfig"
        )

    async def test_the_kubeconfig_in_the_home_directory_is_found(self, tmp_path: Path) -> None:
        (tmp_path / "home" / ".kube").mkdir(parents=True)
        write(tmp_path / "home" / ".kube" / "config", kubeconfig())
        assert await find_credentials().authorization() == f"Bearer {SECRET}"


class TestSecrets:
    async def test_a_token_works(self) -> None:
        assert await from_secret(kubeconfig()).credentials().authorization() == f"Bearer {SECRET}"

    @pytest.mark.parametrize(
        ("user", "cluster", "field"),
        [
            ({"tokenFile": "/etc/passwd"}, {}, "tokenFile"),
            ({"client-certificate": "/etc/passwd", "client-key": "/x"}, {}, "client-certificate"),
            ({"client-certificate-data": "eA==", "client-key": "/etc/passwd"}, {}, "client-key"),
            (None, {"certificate-authority": "/etc/passwd"}, "certificate-authority"),
        ],
    )
    def test_references_to_local_files_are_rejected(self, user: Document | None, cluster: Document, field: str) -> None:
        message = error_message(lambda: from_secret(kubeconfig(user, cluster)))
        assert f"Secret default/east: {field} names a file" in message and "--flatten" in message

    def test_inline_data_takes_precedence_over_a_file(self) -> None:
        both = {"certificate-authority": "/etc/passwd", "certificate-authority-data": "eA=="}
        assert "certificate-authority" not in from_secret(kubeconfig(cluster=both)).cluster

    def test_exec_plugins_are_rejected_and_not_run(self, tmp_path: Path) -> None:
        marker = tmp_path / "ran"
        command = plugin(tmp_path / "login", f"touch {marker}; echo '{answer()}'")
        message = error_message(lambda: from_secret(kubeconfig(exec_user(command))).credentials())
        assert "exec plugin" in message and "use the token of a ServiceAccount" in message and not marker.exists()

    def test_an_auth_provider_is_rejected(self) -> None:
        assert "auth-provider" in error_message(lambda: from_secret(kubeconfig({"auth-provider": {"name": "gcp"}})))

    @pytest.mark.parametrize("text", ["", "[]", "words", "{", "\x00"])
    def test_the_error_about_malformed_content_names_the_secret(self, text: str) -> None:
        assert "Secret default/east" in error_message(lambda: from_secret(text))

    @pytest.mark.parametrize("user", [SECRET, 7])
    def test_a_user_that_is_no_mapping_is_rejected(self, user: Any) -> None:
        assert "Secret default/east" in error_message(lambda: from_secret(kubeconfig(user)))

    @pytest.mark.parametrize(
        "text",
        [f'users: [{{token: "{SECRET}', f"token: {SECRET}: x", f'token: "{SECRET}" oops', f"token: *{SECRET}"],
        ids=["open quote", "colon", "after the quote", "alias"],
    )
    def test_the_error_about_a_syntax_error_does_not_contain_the_token(self, text: str) -> None:
        error_message(lambda: from_secret(text))

    def test_impersonation_is_rejected(self) -> None:
        assert "impersonation (as)" in error_message(
            lambda: from_secret(kubeconfig({"token": SECRET, "as": "another-user"}))
        )

    def test_an_exec_entry_that_is_no_mapping_is_rejected(self) -> None:
        error_message(lambda: from_secret(kubeconfig({"exec": "login"})))

    def test_the_repr_does_not_contain_the_token(self) -> None:
        assert SECRET not in repr(from_secret(kubeconfig()))

    def test_a_self_contained_kubeconfig_works_in_a_secret(self, tmp_path: Path) -> None:
        (tmp_path / "ca.crt").write_bytes(trustme.CA().cert_pem.bytes())
        path = write(tmp_path / "config", kubeconfig(cluster={"certificate-authority": "ca.crt"}))
        moved = Kubeconfig.from_files(path).self_contained()
        assert Kubeconfig.from_secret(moved, "Secret default/east").credentials().server.startswith("https://east")

    @pytest.mark.parametrize("user", [exec_user("login"), {"tokenFile": "token"}], ids=["exec", "tokenFile"])
    def test_a_kubeconfig_that_only_works_on_this_machine_cannot_become_self_contained(
        self, tmp_path: Path, user: Document
    ) -> None:
        (tmp_path / "token").write_text(SECRET)
        path = write(tmp_path / "config", kubeconfig(user))
        assert "use the token of a ServiceAccount" in error_message(Kubeconfig.from_files(path).self_contained)


class TestCertificates:
    @pytest.mark.parametrize("data", ["%%%", "eA==", base64.b64encode(SECRET.encode()).decode()])
    @pytest.mark.parametrize("part", ["ca", "client"])
    def test_the_error_about_an_invalid_certificate_names_the_kubeconfig(self, data: str, part: str) -> None:
        user = {"client-certificate-data": data, "client-key-data": data} if part == "client" else None
        cluster = {"certificate-authority-data": data} if part == "ca" else {}
        message = error_message(lambda: from_secret(kubeconfig(user, cluster)).credentials())
        assert "Secret default/east" in message and data not in message

    async def test_with_a_client_certificate_there_is_no_authorization_header(self) -> None:
        pair = trustme.CA().issue_cert("admin")
        user = certificate_user(pair, pair)
        assert await from_secret(kubeconfig(user)).credentials().authorization() is None

    def test_no_file_with_the_key_is_left(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        ca = trustme.CA()
        pair = ca.issue_cert("admin")
        user = certificate_user(pair, pair)
        cluster = {"certificate-authority-data": base64.b64encode(ca.cert_pem.bytes()).decode()}
        from_secret(kubeconfig(user, cluster)).credentials()
        assert not list(tmp_path.iterdir())

    def test_a_key_of_another_certificate_is_rejected(self) -> None:
        ca = trustme.CA()
        user = certificate_user(ca.issue_cert("a"), ca.issue_cert("b"))
        assert "certificate or key" in error_message(lambda: from_secret(kubeconfig(user)).credentials())
