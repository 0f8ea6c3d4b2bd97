"""Output of `plan-failover` that needs no cluster."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from vk_provider.cli.plan_failover import Row, summary, table
from vk_provider.translate.nodes.plan import Outcome

LONG = "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) didn't match Pod's node affinity/selector"


def row(outcome: Outcome, **changes: Any) -> Row:
    facts: dict[str, Any] = {
        "namespace": "shop",
        "name": "web-645c44978b-dnw96",
        "controller": "ReplicaSet web-645c44978b",
        "outcome": outcome,
        "node": "beta" if outcome is Outcome.MOVES else "",
        "evicted_after": 30,
        "message": "",
        "reservations": [],
    }
    return Row(**(facts | changes))


def printed(rows: list[Row], width: int = 80) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=width, markup=False, highlight=False).print(table(rows))
    return out.getvalue().splitlines()


def test_the_table_fits_80_columns_and_contains_the_complete_message_of_the_scheduler() -> None:
    lines = printed([row(Outcome.CANNOT, message=LONG)])
    assert max(map(len, lines)) <= 80
    column = lines[0].index("WHY")
    assert " ".join(line[column:].strip() for line in lines[1:]) == LONG


def test_pods_that_need_attention_come_last() -> None:
    rows = [row(Outcome.CANNOT, name="a"), row(Outcome.MOVES, name="b"), row(Outcome.STAYS, name="c")]
    assert [line.split()[0] for line in printed(rows)[1:]] == ["shop/b", "shop/c", "shop/a"]


def test_a_pod_that_is_never_evicted_has_a_dash() -> None:
    assert printed([row(Outcome.STAYS, evicted_after=None)])[1].split()[1] == "-"


def test_message_and_reservations_are_both_shown() -> None:
    (line,) = printed([row(Outcome.CANNOT, message="no room", reservations=["one", "two"])], 200)[1:]
    assert line.rstrip().endswith("no room; one; two")


def test_the_summary_counts_moves_by_node_and_the_others_by_outcome() -> None:
    rows = [row(Outcome.MOVES), row(Outcome.MOVES, node="gamma"), row(Outcome.MOVES), row(Outcome.ENDS)]
    assert summary(rows) == "3 of 4 pods would move (2 to beta, 1 to gamma); 1 Ends"
    assert summary([row(Outcome.CANNOT)]) == "0 of 1 pod would move; 1 Cannot"
