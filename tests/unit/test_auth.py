"""Kubeconfigs and credentials: what works, and the error message if something does not."""

from __future__ import annotations

import base64
import json
import os
import stat
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from vk_provider.errors import ConfigError
from vk_provider.kube.auth.kubeconfig import Kubeconfig, find_credentials

SECRET = "S3CR3T-value"
Document = dict[str, Any]


def kubeconfig(user: Any = None, cluster: Document | None = None, **top: Any) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "east",
        "contexts": [{"name": "east", "context": {"cluster": "east", "user": "admin"}}],
        "clusters": [{"name": "east", "cluster": {"server": "https://east.example.com:6443", **(cluster or {})}}],
        "users": [{"name": "admin", "user": {"token": SECRET} if user is None else user}],
        **top,
    }


def write(path: Path, document: Any) -> str:
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return str(path)


def from_secret(document: Any) -> Kubeconfig:
    text = document if isinstance(document, str) else yaml.safe_dump(document)
    return Kubeconfig.from_secret(text.encode(), "Secret default/east")


def plugin(path: Path, body: str) -> str:
    """An executable shell script."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def exec_user(command: str, **more: Any) -> Document:
    return {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": command, **more}}


def certificate_user(certificate: trustme.LeafCert, key: trustme.LeafCert) -> Document:
    """A user with a certificate, and with the key of the same or of another one."""
    return {
        "client-certificate-data": base64.b64encode(certificate.cert_chain_pems[0].bytes()).decode(),
        "client-key-data": base64.b64encode(key.private_key_pem.bytes()).decode(),
    }


def answer(**status: str) -> str:
    return json.dumps(
        {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": {"token": "t", **status}}
    )


async def authorization_of(path: str) -> str | None:
    return await Kubeconfig.from_files(path).credentials().authorization()


def error_message(act: Callable[[], object]) -> str:
    """The message of the ConfigError, which never shows a secret."""
    with pytest.raises(ConfigError) as caught:
        act()
    message = str(caught.value)
    assert SECRET not in message
    return message


@pytest.fixture(autouse=True)
def empty_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("KUBECONFIG", raising=False)


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


class TestExecPlugins:
    async def test_the_token_of_the_plugin_is_used(self, tmp_path: Path) -> None:
        command = plugin(tmp_path / "login", f"echo '{answer(token='fresh')}'")
        assert await authorization_of(write(tmp_path / "config", kubeconfig(exec_user(command)))) == "Bearer fresh"

    async def test_the_plugin_gets_its_arguments_and_environment(self, tmp_path: Path) -> None:
        script = answer(token="$1-$WHO").replace('"', '\\"')
        command = plugin(tmp_path / "login", f'echo "{script}"')
        user = exec_user(command, args=["one"], env=[{"name": "WHO", "value": "me"}])
        assert await authorization_of(write(tmp_path / "config", kubeconfig(user))) == "Bearer one-me"

    @pytest.mark.parametrize("requested", [True, False])
    async def test_the_plugin_gets_the_cluster_if_it_requests_it(self, tmp_path: Path, requested: bool) -> None:
        seen = tmp_path / "seen"
        command = plugin(tmp_path / "login", f"echo \"$KUBERNETES_EXEC_INFO\" > {seen}; echo '{answer()}'")
        await authorization_of(write(tmp_path / "config", kubeconfig(exec_user(command, provideClusterInfo=requested))))
        assert ("cluster" in json.loads(seen.read_text())["spec"]) == requested

    async def test_the_plugin_runs_once_while_its_token_is_valid(self, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        expiry = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        command = plugin(tmp_path / "login", f"echo x >> {runs}; echo '{answer(expirationTimestamp=expiry)}'")
        credentials = Kubeconfig.from_files(write(tmp_path / "config", kubeconfig(exec_user(command)))).credentials()
        for _ in range(3):
            await credentials.authorization()
        assert runs.read_text() == "x\n"

    async def test_the_plugin_runs_again_when_its_token_expires(self, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        expiry = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
        command = plugin(tmp_path / "login", f"echo x >> {runs}; echo '{answer(expirationTimestamp=expiry)}'")
        credentials = Kubeconfig.from_files(write(tmp_path / "config", kubeconfig(exec_user(command)))).credentials()
        for _ in range(2):
            await credentials.authorization()
        assert runs.read_text() == "x\nx\n"

    async def test_the_plugin_runs_again_after_its_token_was_rejected(self, tmp_path: Path) -> None:
        runs = tmp_path / "runs"
        command = plugin(tmp_path / "login", f"echo x >> {runs}; echo '{answer()}'")
        credentials = Kubeconfig.from_files(write(tmp_path / "config", kubeconfig(exec_user(command)))).credentials()
        await credentials.authorization()
        assert credentials.renew()
        await credentials.authorization()
        assert runs.read_text() == "x\nx\n"

    async def error_message(self, tmp_path: Path, user: Document) -> str:
        credentials = Kubeconfig.from_files(write(tmp_path / "config", kubeconfig(user))).credentials()
        with pytest.raises(ConfigError) as caught:
            await credentials.authorization()
        return str(caught.value)

    async def test_the_error_about_a_failed_plugin_contains_the_exit_code(self, tmp_path: Path) -> None:
        command = plugin(tmp_path / "login", f"echo {SECRET}; exit 3")
        message = await self.error_message(tmp_path, exec_user(command))
        assert "exit code 3" in message and command in message and SECRET not in message

    async def test_the_error_about_a_missing_command_contains_the_install_hint(self, tmp_path: Path) -> None:
        message = await self.error_message(tmp_path, exec_user("no-such-login", installHint="install it with brew"))
        assert "'no-such-login' is not installed; install it with brew" in message

    async def test_the_error_about_a_missing_command_without_a_hint_contains_a_remedy(self, tmp_path: Path) -> None:
        assert "install it, or use another" in await self.error_message(tmp_path, exec_user("no-such-login"))

    @pytest.mark.parametrize("output", [SECRET, "{}", '{"token": "' + SECRET + '"}'])
    async def test_output_that_is_no_credential_is_rejected(self, tmp_path: Path, output: str) -> None:
        command = plugin(tmp_path / "login", f"echo '{output}'")
        message = await self.error_message(tmp_path, exec_user(command))
        assert "ExecCredential" in message and SECRET not in message

    async def test_an_invalid_certificate_of_a_plugin_is_rejected(self, tmp_path: Path) -> None:
        command = plugin(tmp_path / "login", f"echo '{answer(clientCertificateData='x', clientKeyData=SECRET)}'")
        message = await self.error_message(tmp_path, exec_user(command))
        assert "certificate that cannot be used" in message and SECRET not in message

    async def test_a_command_that_is_not_executable_is_an_error(self, tmp_path: Path) -> None:
        (tmp_path / "login").write_text("not executable")
        await self.error_message(tmp_path, exec_user(str(tmp_path / "login")))


class TestTokenFiles:
    async def test_the_token_is_read_again_after_it_was_rejected(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("old\n")
        path = write(tmp_path / "config", kubeconfig({"tokenFile": "token"}))
        credentials = Kubeconfig.from_files(path).credentials()
        before = await credentials.authorization()
        (tmp_path / "token").write_text("new\n")
        assert credentials.renew()
        assert (before, await credentials.authorization()) == ("Bearer old", "Bearer new")

    async def test_the_token_is_not_read_for_every_request(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("old")
        path = write(tmp_path / "config", kubeconfig({"tokenFile": "token"}))
        credentials = Kubeconfig.from_files(path).credentials()
        await credentials.authorization()
        (tmp_path / "token").write_text("new")
        assert await credentials.authorization() == "Bearer old"

    async def test_the_error_names_a_token_file_that_was_deleted(self, tmp_path: Path) -> None:
        (tmp_path / "token").write_text(SECRET)
        path = write(tmp_path / "config", kubeconfig({"tokenFile": "token"}))
        credentials = Kubeconfig.from_files(path).credentials()
        (tmp_path / "token").unlink()
        with pytest.raises(ConfigError, match=r"token file .*token: No such file"):
            await credentials.authorization()

    async def test_a_fixed_token_cannot_be_renewed(self) -> None:
        assert not from_secret(kubeconfig()).credentials().renew()
