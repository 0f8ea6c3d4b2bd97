"""Credentials that change: exec plugins and token files."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.unit.kubeconfigs import (
    SECRET,
    Document,
    answer,
    authorization_of,
    exec_user,
    from_secret,
    kubeconfig,
    pass_time,
    plugin,
    write,
)
from vk_provider.errors import ConfigError
from vk_provider.kube.auth.kubeconfig import Kubeconfig

pytestmark = pytest.mark.usefixtures("empty_home")


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

    async def test_the_plugin_runs_again_when_its_token_expires(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = tmp_path / "runs"
        expiry = (datetime.now(UTC) + timedelta(seconds=5)).isoformat()
        command = plugin(tmp_path / "login", f"echo x >> {runs}; echo '{answer(expirationTimestamp=expiry)}'")
        credentials = Kubeconfig.from_files(write(tmp_path / "config", kubeconfig(exec_user(command)))).credentials()
        await credentials.authorization()
        pass_time(monkeypatch, 10.0)
        await credentials.authorization()
        assert runs.read_text() == "x\nx\n"

    async def test_the_plugin_runs_again_after_its_token_was_rejected(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = tmp_path / "runs"
        command = plugin(tmp_path / "login", f"echo x >> {runs}; echo '{answer()}'")
        credentials = Kubeconfig.from_files(write(tmp_path / "config", kubeconfig(exec_user(command)))).credentials()
        await credentials.authorization()
        pass_time(monkeypatch, 10.0)
        assert credentials.renew(credentials.serial)
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
        assert credentials.renew(credentials.serial)
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
        assert not from_secret(kubeconfig()).credentials().renew(0)
