"""What the command line says and how it ends, as far as no cluster is needed for that."""

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

NOBODY = "https://127.0.0.1:1"  # nothing listens on port 1


def kubeconfig(user: dict[str, Any], server: str = NOBODY) -> str:
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
    """A directory with the kubeconfig `member.yaml`, which is the parent's too."""
    (tmp_path / "member.yaml").write_text(kubeconfig({"token": "s3cret"}))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KUBECONFIG", "member.yaml")


def refused(*args: str) -> str:
    """The one line of an error that the user can act on."""
    result = vk(*args)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line


def misused(*args: str) -> str:
    """What is said of wrong usage."""
    result = vk(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


# Usage.


_COMMANDS = ("join", "unjoin", "status", "run", "fence", "confirm", "plan-failover", "render")


@pytest.mark.parametrize("command", [[], *([name] for name in _COMMANDS)])
def test_help_explains(command: list[str]) -> None:
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
def test_join_refuses_a_malformed_option_by_its_name(option: str, value: str) -> None:
    assert f"'{option}'" in misused("join", "west", "--kubeconfig", "member.yaml", option, value)


@pytest.mark.parametrize(("option", "values"), [("--label", ("a=1", "a=2")), ("--capacity", ("cpu=1", "cpu=2"))])
def test_a_key_that_is_given_twice_is_a_mistake(option: str, values: tuple[str, str]) -> None:
    said = misused("join", "west", "--kubeconfig", "member.yaml", option, values[0], option, values[1])
    assert f"'{option}'" in said and "twice" in said


def test_join_needs_the_members_kubeconfig() -> None:
    assert "--kubeconfig" in misused("join", "west")


@pytest.mark.parametrize(
    "args", [["status", "-o", "yaml"], ["unjoin", "west", "-o", "xml"], ["run", "--log-format", "x"]]
)
def test_an_unknown_format_is_wrong_usage(args: list[str]) -> None:
    assert "is not one of" in misused(*args)


def test_an_unknown_command_is_wrong_usage() -> None:
    assert "'jion'" in misused("jion")


# What options mean.


def test_a_label_may_have_a_domain_and_no_value() -> None:
    assert options.label("topology.kubernetes.io/region=eu-west") == ("topology.kubernetes.io/region", "eu-west")
    assert options.label("spot=") == ("spot", "")


def test_a_taint_may_do_without_a_value() -> None:
    assert options.taint("gpu=yes:NoExecute") == {"key": "gpu", "value": "yes", "effect": "NoExecute"}
    assert options.taint("example.com/gpu:NoSchedule") == {"key": "example.com/gpu", "effect": "NoSchedule"}


def test_a_capacity_keeps_the_text_of_its_quantity() -> None:
    assert options.capacity("nvidia.com/gpu=4") == ("nvidia.com/gpu", "4")
    assert options.capacity("memory=1.5Ti") == ("memory", "1.5Ti")


# Errors of users: one line, exit code 1.


def test_join_names_a_kubeconfig_that_is_not_there() -> None:
    assert refused("join", "west", "--kubeconfig", "nope.yaml") == "error: kubeconfig nope.yaml: no such file"


@pytest.mark.parametrize("content", ["", "- a\n", "a: [", "apiVersion: v1\nkind: Config\n", "\x00"])
def test_join_names_a_kubeconfig_that_is_none(content: str) -> None:
    Path("bad.yaml").write_text(content)
    assert "kubeconfig bad.yaml" in refused("join", "west", "--kubeconfig", "bad.yaml")


def test_join_names_a_context_that_is_not_there() -> None:
    assert "staging" in refused("join", "west", "--kubeconfig", "member.yaml", "--context", "staging")


def test_join_refuses_a_credential_of_this_machine_and_says_what_to_use() -> None:
    plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "cloud", "interactiveMode": "Never"}
    Path("exec.yaml").write_text(kubeconfig({"exec": plugin}))
    said = refused("join", "west", "--kubeconfig", "exec.yaml")
    assert "exec plugin" in said and "ServiceAccount" in said


def test_join_says_that_it_is_the_member_that_does_not_answer() -> None:
    said = refused("join", "west", "--kubeconfig", "member.yaml")
    assert said.startswith(f"error: member west: {NOBODY}") and "s3cret" not in said


@pytest.mark.parametrize("args", [["status"], ["unjoin", "west", "--yes"], ["plan-failover", "west"]])
def test_commands_say_that_it_is_the_parent_that_does_not_answer(args: list[str]) -> None:
    said = refused(*args)
    assert said.startswith(f"error: parent cluster {NOBODY}") and "--context" in said and "s3cret" not in said


def test_the_groups_kubeconfig_is_the_parents() -> None:
    assert refused("--kubeconfig", "nope.yaml", "status") == "error: kubeconfig nope.yaml: no such file"
    assert "staging" in refused("--context", "staging", "status")


def test_without_any_kubeconfig_it_says_how_to_name_the_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    said = refused("status")
    assert "no parent cluster" in said and "--kubeconfig" in said


def test_unjoin_does_not_go_on_when_nobody_can_be_asked() -> None:
    assert "--yes" in refused("unjoin", "west")


def _fails_with(error: BaseException) -> click.Group:
    @click.command()
    def fail() -> None:
        raise error

    group = root._Group("vk-provider")
    group.add_command(fail)
    return group


@pytest.mark.parametrize("error", [KeyboardInterrupt(), click.Abort()])
def test_an_interrupt_ends_with_130(error: BaseException) -> None:
    result = CliRunner().invoke(_fails_with(error), ["fail"])
    assert (result.exit_code, result.output.strip()) == (130, "")


def test_a_mistake_of_ours_is_not_hidden() -> None:
    mistake = ZeroDivisionError()
    assert CliRunner().invoke(_fails_with(mistake), ["fail"]).exception is mistake


# The definition that join installs.


def test_the_definition_is_found() -> None:
    assert definition()["metadata"]["name"] == "memberclusters.vk-provider.io"


def test_a_definition_with_a_field_less_is_not_current() -> None:
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
def test_a_member_is_ready_as_long_as_somebody_serves_it(
    conditions: list[Condition], renewed: datetime | None, ready: bool, reason: str
) -> None:
    found = status.row(member(*conditions), None, Pods(0, 0), renewed, NOW)
    assert (found.ready, found.reason) == (ready, reason)


def test_one_member_is_explained_with_what_may_be_done() -> None:
    reachable = Condition("Reachable", "False", "Lost", "no answer", "2025-06-01T11:57:00Z")
    released = Condition("OrphansHeld", "False", "Released", "12 orphans are deleted", "2025-06-01T11:57:00Z")
    lines = status.explanation(a_row(conditions=[LOST, reachable, released]), NOW)
    assert "Reachable=False Lost, for 3m: no answer" in lines
    assert not [line for line in lines if "OrphansHeld" in line], "what is over is not worth a line"
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
def test_only_what_the_provider_waits_for_can_be_confirmed(
    conditions: list[Condition], new_cluster: bool, refused: bool
) -> None:
    with pytest.raises(VkError) if refused else contextlib.nullcontext():
        confirm.check(member(*conditions), new_cluster)


def test_a_fence_needs_the_statement_in_full() -> None:
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


def test_the_table_fits_80_columns_in_a_line_per_member() -> None:
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


def test_what_is_piped_has_whole_lines_and_no_colour(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.stdout().print(status.table([a_row("w" * 63)], True))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert "w" * 63 in lines[1] and "[bold]https://w[/bold]: refused" in lines[1]
    assert "\x1b" not in lines[1]


def test_a_terminal_gets_colour() -> None:
    assert "\x1b[" in printed([a_row()], 80, terminal=True)


def test_a_member_without_a_node_has_dashes() -> None:
    assert printed([a_row(allocatable={}, version="")], 80).splitlines()[1].split()[5:8] == ["-", "-", "-"]


def test_json_has_the_facts_of_the_table() -> None:
    out = CliRunner().invoke(click.Command("show", callback=lambda: status._show([a_row()], "json"))).stdout
    (fact,) = json.loads(out)
    assert (fact["name"], fact["pods"], fact["clusterUid"]) == (
        "west",
        {"running": 998, "total": 1000},
        "8a6f7a2e-5d3c-4b58-9df1-1d9a2f0c7f11",
    )


# Words for numbers.


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


def test_run_refuses_a_kubelet_address_that_is_none() -> None:
    result = vk("run", "--kubelet-address", "somewhere")
    assert result.exit_code == 2
    assert "'somewhere' is not an IP address" in result.output
