"""The output of the command status, and the conditions under which a confirmation is accepted."""

from __future__ import annotations

import contextlib
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, MemberClusterStatus, SecretRef
from vk_provider.cli import confirm, status, terminal
from vk_provider.cli.status import Pods, Row
from vk_provider.errors import VkError
from vk_provider.kube.objects import Condition, Metadata
from vk_provider.translate import quantity

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
