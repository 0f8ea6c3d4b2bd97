"""Messages of commands: errors of users with the file and the remedy, interrupts, and complete output of `status`."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from demo.screen import Screen

from tests.command_line import vk
from tests.unit.test_cli_status import READY, a_row, member
from vk_provider import __main__ as program
from vk_provider.cli import plan_failover, status, terminal
from vk_provider.cli.parent import explained
from vk_provider.cli.plan_failover import Row
from vk_provider.cli.status import Pods
from vk_provider.errors import ConfigError, api_error
from vk_provider.kube.objects import Condition
from vk_provider.translate.nodes.plan import Outcome

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
KUBECONFIG: dict[str, Any] = {
    "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
    "users": [{"name": "u", "user": {"token": "s3cret"}}],
    "contexts": [{"name": name, "context": {"cluster": "c", "user": "u"}} for name in ("it", "other")],
    "current-context": "it",
}


def with_cluster(**fields: str) -> bytes:
    return json.dumps(KUBECONFIG | {"clusters": [{"name": "c", "cluster": fields}]}).encode()


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        (b"garbage", [], ["not a kubeconfig", "check that kubectl accepts it"]),
        (b"\xc3\x28\x80", [], ["not YAML", "check that kubectl accepts it"]),
        (json.dumps(KUBECONFIG).encode(), ["--context", "nope"], ["no entry 'nope'", "it has: it, other"]),
        (
            with_cluster(**{"server": "https://127.0.0.1:1", "certificate-authority-data": "abc!defgh"}),
            [],
            ["certificate-authority-data is not base64", "kubectl config view --flatten --raw"],
        ),
    ],
    ids=["garbage", "binary", "context", "base64"],
)
@pytest.mark.parametrize("of_parent", [True, False])
def test_a_kubeconfig_that_cannot_be_used_is_named_with_the_remedy(
    tmp_path: Path, content: bytes, options: list[str], expected: list[str], of_parent: bool
) -> None:
    file = tmp_path / "some.yaml"
    file.write_bytes(content)
    given = ["--kubeconfig", str(file), *options]
    result = vk(*given, "status") if of_parent else vk("join", "west", *given)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: kubeconfig {file}: ")
    assert all(each in line for each in expected), line
    assert "s3cret" not in line


def test_a_member_without_tls_is_refused_with_the_file_and_the_remedy(tmp_path: Path) -> None:
    file = tmp_path / "some.yaml"
    file.write_bytes(with_cluster(server="http://127.0.0.1:1"))
    result = vk("join", "west", "--kubeconfig", str(file))
    assert result.exit_code == 1
    assert f"kubeconfig {file}: the server of context it is not an https:// address" in result.stderr
    assert "use the address with TLS" in result.stderr


def test_an_interrupt_while_the_command_line_is_imported_has_exit_code_130() -> None:
    script = """
import sys
class Interrupted:
    def find_spec(self, name, path=None, target=None):
        if name == "vk_provider.cli.root":
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from vk_provider.__main__ import main
main()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


def test_the_program_imports_the_command_line_only_when_it_runs() -> None:
    assert not hasattr(program, "cli")


def test_the_conditions_of_a_member_without_a_provider_are_outdated() -> None:
    reachable = Condition("Reachable", "True", "Healthy", "the member answers", "2025-06-01T11:57:00Z")
    found = status.row(member(READY, reachable), None, Pods(0, 0), NOW - timedelta(minutes=2), NOW)
    assert (found.served, found.reason) == (False, "NotServed")
    shown = [line for line in status.explanation(found, NOW) if line.startswith(("Ready=True", "Reachable=True"))]
    assert len(shown) == 2
    assert all("(outdated: no provider renews the Lease of its node)" in line for line in shown)


@pytest.mark.parametrize("renewed", [NOW, None], ids=["served", "not served"])
def test_a_member_that_leaves_is_marked(renewed: datetime | None) -> None:
    leaving = member(READY)
    leaving.metadata = msgspec.structs.replace(leaving.metadata, deletion_timestamp="2025-06-01T11:59:00Z")
    found = status.row(leaving, None, Pods(0, 0), renewed, NOW)
    assert (found.leaving, found.ready, found.reason) == (True, False, "Leaving")
    assert "vk-provider unjoin west" in found.message


def test_what_keeps_a_member_from_leaving_is_shown() -> None:
    needed = Condition("Ready", "False", "FenceNeeded", "1 pod that must run at most once")
    leaving = member(needed)
    leaving.metadata = msgspec.structs.replace(leaving.metadata, deletion_timestamp="2025-06-01T11:59:00Z")
    assert status.row(leaving, None, Pods(0, 0), None, NOW).reason == "FenceNeeded"


def test_members_whose_loss_is_frozen_are_named_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    frozen = [Condition("Reachable", "Unknown", "Frozen", "several members do not answer")]
    status._show([a_row("west", conditions=frozen), a_row("east", conditions=frozen), a_row("north")], "table")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("warning: losses are frozen: no pods leave east, west until")
    assert "vk-provider fence NAME --confirmed-down" in last


def test_members_whose_orphans_wait_for_an_administrator_are_named() -> None:
    held = [Condition("OrphansHeld", "True", "TooManyOrphans", "")]
    (line,) = status.warnings([a_row("west", conditions=held), a_row("east")])
    assert "many pods in west are unknown to the parent" in line


def test_a_wide_table_is_not_folded_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = terminal.stdout(terminal.ANY_LENGTH)
    with console.capture() as shown:
        console.print(status.table([a_row()], True))
    assert len(shown.get().splitlines()) == 2
    assert "8a6f7a2e-5d3c-4b58-9df1-1d9a2f0c7f11" in shown.get()


def test_names_of_pods_are_not_broken_on_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("FORCE_COLOR", "1")
    name = "a-deployment-with-a-rather-long-name-645c44978b-dnw96"
    row = Row("shop", name, "ReplicaSet x", Outcome.CANNOT, "", 30, "0/2 nodes are available: 2 Insufficient cpu", [])
    console = plan_failover.console([row])
    with console.capture() as shown:
        console.print(plan_failover.table([row]))
    assert f"shop/{name} " in shown.get()


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["kubectl", "create", "job", "sum", "--", "sh", "-c", "expr 20 + 22"], "-- sh -c 'expr 20 + 22'"),
        (["kubectl", "patch", "-p", '{"spec":{}}'], """-p '{"spec":{}}'"""),
        (["vk-provider", "run", "&"], "vk-provider run &"),
    ],
)
def test_a_command_that_the_demo_shows_can_be_pasted(command: list[str], shown: str) -> None:
    screen = Screen()
    with screen.console.capture() as output:
        screen.command(command, "")
    assert output.get().strip().endswith(shown)


def test_a_refusal_of_the_parent_names_the_credential_and_where_the_permissions_are_listed() -> None:
    credentials: Any = SimpleNamespace(server="https://parent", name="kubeconfig admin.yaml")
    refusal = api_error(403, "Forbidden", 'memberclusters is forbidden: User "eve" cannot list')
    with pytest.raises(ConfigError) as refused, explained(credentials):
        raise refusal
    assert "https://parent does not permit it to kubeconfig admin.yaml" in str(refused.value)
    assert 'User "eve" cannot list' in str(refused.value)
    assert "docs/how-to/join.md" in refused.value.remedy
