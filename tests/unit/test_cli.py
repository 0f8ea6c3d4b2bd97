"""Output and exit codes of the command line that need no cluster."""

from __future__ import annotations

import contextlib
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from tests.command_line import vk
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, MemberClusterStatus, SecretRef
from vk_provider.cli import confirm, options, root, status, terminal
from vk_provider.cli.install import definition, is_current
from vk_provider.cli.status import Pods, Row
from vk_provider.errors import VkError
from vk_provider.kube.objects import Condition, Metadata
from vk_provider.translate import quantity

NO_SERVER = "https://127.0.0.1:1"  # nothing listens on port 1


def kubeconfig(user: dict[str, Any], server: str = NO_SERVER) -> str:
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server}}],
            "users": [{"name": "u", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "it",
        }
    )


@pytest.fixture(autouse=True)
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory with the kubeconfig `member.yaml`, which also names the parent."""
    (tmp_path / "member.yaml").write_text(kubeconfig({"token": "s3cret"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", "member.yaml")


def failed(*args: str) -> str:
    """Expects exit code 1, and returns the single line of the error."""
    result = vk(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def misused(*args: str) -> str:
    """Expects exit code 2, and returns the error about wrong usage."""
    result = vk(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


# Usage.


_COMMANDS = ("join", "unjoin", "status", "run", "fence", "confirm", "plan-failover", "render")


@pytest.mark.parametrize("command", [[], *([name] for name in _COMMANDS)])
def test_every_command_has_help(command: list[str]) -> None:
    result = vk(*command, "--help")
    assert result.exit_code == 0
    assert result.stdout.startswith("Usage: ")
    assert max(map(len, result.stdout.splitlines())) <= 80


def test_help_of_join_has_an_example() -> None:
    assert re.search(r"Example:\n +vk-provider join west --kubeconfig west.yaml", vk("join", "--help").stdout)


def test_version() -> None:
    assert re.fullmatch(r"\S+ \d+\.\d+\.\d+\S*\n", vk("--version").stdout)


@pytest.mark.parametrize("name", ["West", "-west", "west-", "we_st", "we.st", "w" * 64, ""])
@pytest.mark.parametrize(
    "command", [["join", "--kubeconfig", "member.yaml"], ["unjoin", "--yes"], ["status"], ["fence"], ["confirm"]]
)
def test_a_name_is_a_dns_label(command: list[str], name: str) -> None:
    assert "'" + name + "'" in misused(*command, "--", name)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--label", "zone"),
        ("--label", "=a"),
        ("--label", "a/b/c=d"),
        ("--label", "/b=c"),
        ("--label", "zone=a b"),
        ("--label", "zone=" + "a" * 64),
        ("--taint", "gpu=yes"),
        ("--taint", "gpu=yes:Sometimes"),
        ("--taint", ":NoSchedule"),
        ("--taint", "gpu=a b:NoSchedule"),
        ("--capacity", "cpu"),
        ("--capacity", "cpu="),
        ("--capacity", "cpu=many"),
        ("--capacity", "cpu=-1"),
        ("--capacity", "=1"),
        ("--node-name", "West"),
        ("--namespace-prefix", "-p"),
        ("--namespace-prefix", "p" * 41),
        ("--api-access", "Both"),
        ("--timeout", "0"),
    ],
)
def test_the_error_about_a_malformed_option_of_join_names_the_option(option: str, value: str) -> None:
    assert f"'{option}'" in misused("join", "west", "--kubeconfig", "member.yaml", option, value)


@pytest.mark.parametrize(("option", "values"), [("--label", ("a=1", "a=2")), ("--capacity", ("cpu=1", "cpu=2"))])
def test_a_key_that_is_given_twice_is_wrong_usage(option: str, values: tuple[str, str]) -> None:
    message = misused("join", "west", "--kubeconfig", "member.yaml", option, values[0], option, values[1])
    assert f"'{option}'" in message and "twice" in message


def test_join_needs_the_members_kubeconfig() -> None:
    assert "--kubeconfig" in misused("join", "west")


@pytest.mark.parametrize(
    "args", [["status", "-o", "yaml"], ["unjoin", "west", "-o", "xml"], ["run", "--log-format", "x"]]
)
def test_an_unknown_format_is_wrong_usage(args: list[str]) -> None:
    assert "is not one of" in misused(*args)


def test_an_unknown_command_is_wrong_usage() -> None:
    assert "'jion'" in misused("jion")


# Options.


def test_a_label_may_have_a_domain_and_no_value() -> None:
    assert options.label("topology.kubernetes.io/region=eu-west") == ("topology.kubernetes.io/region", "eu-west")
    assert options.label("spot=") == ("spot", "")


def test_a_taint_may_have_no_value() -> None:
    assert options.taint("gpu=yes:NoExecute") == {"key": "gpu", "value": "yes", "effect": "NoExecute"}
    assert options.taint("example.com/gpu:NoSchedule") == {"key": "example.com/gpu", "effect": "NoSchedule"}


def test_a_capacity_keeps_the_text_of_its_quantity() -> None:
    assert options.capacity("nvidia.com/gpu=4") == ("nvidia.com/gpu", "4")
    assert options.capacity("memory=1.5Ti") == ("memory", "1.5Ti")


# Errors that users can correct: one line, exit code 1.


def test_join_names_a_missing_kubeconfig() -> None:
    assert failed("join", "west", "--kubeconfig", "nope.yaml") == "error: kubeconfig nope.yaml: no such file"


@pytest.mark.parametrize("content", ["", "- a\n", "a: [", "apiVersion: v1\nkind: Config\n", "\x00"])
def test_join_names_a_malformed_kubeconfig(content: str) -> None:
    Path("bad.yaml").write_text(content)
    assert "kubeconfig bad.yaml" in failed("join", "west", "--kubeconfig", "bad.yaml")


def test_join_names_a_missing_context() -> None:
    assert "staging" in failed("join", "west", "--kubeconfig", "member.yaml", "--context", "staging")


def test_join_rejects_an_exec_plugin_and_names_an_alternative() -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "cloud", "interactiveMode": "Never"}
    Path("exec.yaml").write_text(kubeconfig({"exec": plugin}))
    message = failed("join", "west", "--kubeconfig", "exec.yaml")
    assert "exec plugin" in message and "ServiceAccount" in message


def test_join_names_the_member_if_it_does_not_answer() -> None:
    message = failed("join", "west", "--kubeconfig", "member.yaml")
    assert message.startswith(f"error: member west: {NO_SERVER}") and "s3cret" not in message


@pytest.mark.parametrize("args", [["status"], ["unjoin", "west", "--yes"], ["plan-failover", "west"]])
def test_commands_name_the_parent_if_it_does_not_answer(args: list[str]) -> None:
    message = failed(*args)
    assert (
        message.startswith(f"error: parent cluster {NO_SERVER}") and "--context" in message and "s3cret" not in message
    )


def test_the_kubeconfig_option_before_the_command_is_for_the_parent() -> None:
    assert failed("--kubeconfig", "nope.yaml", "status") == "error: kubeconfig nope.yaml: no such file"
    assert "staging" in failed("--context", "staging", "status")


def test_the_error_without_any_kubeconfig_names_the_option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    message = failed("status")
    assert "no parent cluster" in message and "--kubeconfig" in message


def test_unjoin_stops_if_it_cannot_ask_for_confirmation() -> None:
    assert "--yes" in failed("unjoin", "west")


def _fails_with(error: BaseException) -> click.Group:
    @click.command()
    def fail() -> None:
        raise error

    group = root._Group("vk-provider")
    group.add_command(fail)
    return group


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_has_exit_code_130(error: BaseException) -> None:
    result = CliRunner().invoke(_fails_with(error), ["fail"])
    assert (result.exit_code, result.output.strip()) == (130, "")


def test_an_unexpected_exception_is_not_hidden() -> None:
    defect = ZeroDivisionError()
    assert CliRunner().invoke(_fails_with(defect), ["fail"]).exception is defect


# The CustomResourceDefinition that join installs.


def test_the_definition_is_found() -> None:
    assert definition()["metadata"]["name"] == "memberclusters.vk-provider.io"


def test_a_definition_that_lacks_a_field_is_not_current() -> None:
    wanted = definition()["spec"]
    present = definition()["spec"] | {"conversion": {"strategy": "None"}}
    assert is_current(present, wanted)
    del present["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["apiAccess"]
    assert not is_current(present, wanted)


# Status.

NOW = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)


def member(*conditions: Condition) -> MemberCluster:
    return MemberCluster(
        metadata=Metadata(name="west", creation_timestamp="2025-06-01T10:00:00Z"),
        spec=MemberClusterSpec(kubeconfig_secret_ref=SecretRef("member-west", "vk-provider-system")),
        status=MemberClusterStatus(version="v1.34.1+k3s1", cluster_uid="u", conditions=list(conditions)),
    )


READY = Condition("Ready", "True", "Serving", "served")
LOST = Condition("Ready", "False", "Unreachable", "https://w: refused")


@pytest.mark.parametrize(
    ("conditions", "renewed", "ready", "reason"),
    [
        ([READY], NOW - timedelta(seconds=12), True, "Serving"),
        ([READY], NOW - timedelta(minutes=2), False, "NotServed"),
        ([READY], None, False, "NotServed"),
        ([LOST], NOW - timedelta(seconds=12), False, "Unreachable"),
        ([LOST], None, False, "Unreachable"),
        ([], None, False, "NotServed"),
    ],
)
def test_a_member_is_ready_while_a_provider_serves_it(
    conditions: list[Condition], renewed: datetime | None, ready: bool, reason: str
) -> None:
    found = status.row(member(*conditions), None, Pods(0, 0), renewed, NOW)
    assert (found.ready, found.reason) == (ready, reason)


def test_the_status_of_one_member_includes_the_next_steps() -> None:
    reachable = Condition("Reachable", "False", "Lost", "no answer", "2025-06-01T11:57:00Z")
    released = Condition("OrphansHeld", "False", "Released", "12 orphans are deleted", "2025-06-01T11:57:00Z")
    lines = status.explanation(a_row(conditions=[LOST, reachable, released]), NOW)
    assert "Reachable=False Lost, for 3m: no answer" in lines
    assert not [line for line in lines if "OrphansHeld" in line], "a condition that is over is not shown"
    assert "vk-provider fence west --confirmed-down" in lines[-1]


@pytest.mark.parametrize(
    ("conditions", "new_cluster", "refused"),
    [
        ([READY], False, True),
        ([READY], True, True),
        ([Condition("OrphansHeld", "True", "TooManyOrphans", "")], False, False),
        ([Condition("OrphansHeld", "False", "Released", "")], False, True),
        ([Condition("Ready", "False", "ClusterUidChanged", "")], True, False),
        ([Condition("Ready", "False", "ClusterUidChanged", "")], False, True),
    ],
)
def test_a_confirmation_is_accepted_only_if_the_provider_waits_for_it(
    conditions: list[Condition], new_cluster: bool, refused: bool
) -> None:
    with pytest.raises(VkError) if refused else contextlib.nullcontext():
        confirm.check(member(*conditions), new_cluster)


def test_fence_needs_the_complete_confirmation() -> None:
    result = vk("fence", "west")
    assert (result.exit_code, "--confirmed-down" in result.stderr) == (1, True)


def a_row(name: str = "west", **changes: Any) -> Row:
    facts: dict[str, Any] = {
        "name": name,
        "node": name,
        "version": "v1.34.1+k3s1",
        "ready": False,
        "reason": "Unreachable",
        "message": "[bold]https://w[/bold]: refused",
        "pods": Pods(998, 1000),
        "allocatable": {"cpu": "127500m", "memory": "131611240Ki", "pods": "1100"},
        "created": "2025-06-01T10:00:00Z",
        "cluster_uid": "8a6f7a2e-5d3c-4b58-9df1-1d9a2f0c7f11",
        "api_access": "Parent",
    }
    return Row(**(facts | changes))


def printed(rows: list[Row], width: int, *, wide: bool = False, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, highlight=False, force_terminal=terminal).print(
        status.table(rows, wide)
    )
    return out.getvalue()


def test_the_table_has_a_line_of_at_most_80_columns_per_member() -> None:
    lines = printed([a_row("westeros"), a_row("essos")], 80).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[:8] == [
        "westeros",
        "westeros",
        "v1.34.1",
        "Unreachable",
        "998/1000",
        "127",
        "125Gi",
        "1100",
    ]


def test_the_table_never_cuts_a_name() -> None:
    name = "a-name-that-is-as-long-as-a-name-can-ever-get-in-kubernetes-6"
    folded = printed([a_row(name)], 80).splitlines()
    assert max(map(len, folded)) <= 80
    assert "".join(line.split(" ")[0] for line in folded[1:]) == name


def test_piped_output_has_complete_lines_and_no_color(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.stdout().print(status.table([a_row("w" * 63)], True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "w" * 63 in lines[1] and "[bold]https://w[/bold]: refused" in lines[1]
    assert "\x1b" not in lines[1]


def test_output_on_a_terminal_has_color() -> None:
    assert "\x1b[" in printed([a_row()], 80, terminal=True)


def test_a_member_without_a_node_has_dashes() -> None:
    assert printed([a_row(allocatable={}, version="")], 80).splitlines()[1].split()[5:8] == ["-", "-", "-"]


def test_json_has_the_data_of_the_table() -> None:
    out = CliRunner().invoke(click.Command("show", callback=lambda: status._show([a_row()], "json"))).stdout
    (fact,) = json.loads(out)
    assert (fact["name"], fact["pods"], fact["clusterUid"]) == (
        "west",
        {"running": 998, "total": 1000},
        "8a6f7a2e-5d3c-4b58-9df1-1d9a2f0c7f11",
    )


# Formats of numbers.


@pytest.mark.parametrize(
    ("since", "text"),
    [
        (0, "0s"),
        (59, "59s"),
        (60, "1m"),
        (7199, "119m"),
        (7200, "2h"),
        (172800, "2d"),
        (3 * 365 * 86400, "3y"),
        (-5, "0s"),
    ],
)
def test_age(since: int, text: str) -> None:
    assert terminal.age((NOW - timedelta(seconds=since)).isoformat(), NOW) == text


@pytest.mark.parametrize(
    ("text", "shown"), [("7910m", "7.9"), ("64", "64"), ("127500m", "127"), ("0", "0"), ("999m", "0.9")]
)
def test_amount(text: str, shown: str) -> None:
    assert terminal.amount(quantity.parse(text)) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("65806072Ki", "62.7Gi"), ("2Ti", "2Ti"), ("1536Mi", "1.5Gi"), ("500", "500"), ("0", "0")]
)
def test_memory(text: str, shown: str) -> None:
    assert terminal.memory(quantity.parse(text)) == shown


def test_run_rejects_an_invalid_kubelet_address() -> None:
    result = vk("run", "--kubelet-address", "somewhere")
    assert result.exit_code == 2
    assert "'somewhere' is not an IP address" in result.output
