"""The benchmark without clusters: limits, goals and the report."""

from __future__ import annotations

import json

import pytest
from bench import report, run
from bench.audit import parse
from bench.budget import ROWS, Bound, Kind, Row
from bench.cli import main
from bench.measurements import Measurement, Measurements, Verdict, percentile
from bench.meter import Measured
from bench.pods import GROUP, Group
from bench.receive import EventDecoder
from bench.scenario import Found
from bench.streams import Sides, Streams
from rich.console import Console

from tests.unit.audit_lines import ME, line


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0.0, 1), (0.51, 3)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], share) == value


SHARE = Row("share", "", "x", Kind.RATIO, Bound(0.25), Bound(0.2))
WRITES = Row("writes", "", "", Kind.COUNT, Bound(0), Bound(0))
RATE = Row("rate", "", "x", Kind.RATIO, Bound(0.7), Bound(0.9), at_least=True)


@pytest.mark.parametrize(
    ("row", "value", "verdict", "reaches_goal"),
    [
        (SHARE, 0.1, Verdict.WITHIN, True),
        (SHARE, 0.204, Verdict.WITHIN, True),  # shown as 0.20
        (SHARE, 0.254, Verdict.WITHIN, False),  # shown as 0.25
        (SHARE, 0.256, Verdict.OVER, False),
        (SHARE, None, Verdict.UNKNOWN, None),
        (WRITES, 0, Verdict.WITHIN, True),
        (WRITES, 1, Verdict.OVER, False),
        (RATE, 0.95, Verdict.WITHIN, True),
        (RATE, 0.8, Verdict.WITHIN, False),
        (RATE, 0.6, Verdict.OVER, False),
        (Row("none", "", "", Kind.COUNT), 6, Verdict.SHOWN, None),
        (Row("goal", "", "", Kind.COUNT, goal=Bound(5)), 6, Verdict.SHOWN, False),
        (Row("time", "", "s", Kind.TIME, Bound(5)), 6, Verdict.SHOWN, None),
        (Row("cpu", "", "ms", Kind.CPU, Bound(5)), 6, Verdict.SHOWN, None),
    ],
)
def test_a_value_over_its_limit_fails_unless_it_depends_on_the_machine(
    row: Row, value: float | None, verdict: Verdict, reaches_goal: bool | None
) -> None:
    measurement = Measurement(row, value, 0)
    assert (measurement.verdict, measurement.reaches_goal) == (verdict, reaches_goal)


def test_the_limit_and_the_goal_of_memory_grow_with_the_pods() -> None:
    measurements = Measurements()
    measurements.add("memory_large", 1.0, 5000)
    (measurement,) = measurements.ordered()
    assert measurement.limit == pytest.approx(90 + 5000 * 20 / 1024)
    assert measurement.goal == pytest.approx(60 + 5000 * 15 / 1024)


def test_every_row_of_the_table_has_its_own_key() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_only_counts_bytes_and_ratios_have_limits() -> None:
    limited = {row.kind for row in ROWS if row.limit}
    assert limited == {Kind.RATIO, Kind.COUNT, Kind.MEMORY}
    assert not limited & {Kind.CPU, Kind.TIME}


@pytest.mark.parametrize("pods", [0, 5000])
def test_no_limit_is_stricter_than_its_goal(pods: int) -> None:
    for row in ROWS:
        if row.limit and row.goal:
            limit, goal = row.limit.at(pods), row.goal.at(pods)
            assert limit <= goal if row.at_least else limit >= goal, row.key


def test_measurements_are_in_the_order_of_the_table() -> None:
    measurements = Measurements()
    measurements.add("idle_cpu", 99.0, 500)
    measurements.add("parent_requests", 4.0, 500)
    measurements.add("own_cpu_share", 0.3, 500)
    assert [each.row.key for each in measurements.ordered()] == [
        "own_cpu_share",
        "parent_requests",
        "idle_cpu",
    ]
    assert [each.row.key for each in measurements.over] == ["own_cpu_share", "parent_requests"]


def test_the_table_shows_value_limit_goal_and_verdict() -> None:
    measurements = Measurements()
    measurements.add("own_cpu_share", 0.3, 500)
    measurements.add("everything_ratio", 1.5, 500)
    measurements.add("receive_ratio", None, 500)
    measurements.add("own_cpu", 99.0, 500)
    console = Console(width=140)
    with console.capture() as capture:
        report.show(measurements, "bench", console)
    rows = {line.split("│")[1].strip(): line for line in capture.get().splitlines() if "│" in line}
    share, everything, receive, own = (rows[measurement.row.what] for measurement in measurements.ordered())
    assert all(text in share for text in ("0.30 x", "0.25 x", "0.17 x", "OVER"))
    assert "ok, goal reached" in everything
    assert "n/a" in receive
    assert "99.00 ms" in own and "OVER" not in own


def test_a_measurement_over_its_limit_is_shown_with_value_and_limit() -> None:
    measurements = Measurements()
    measurements.add("memory_pods", 140.2, 200)
    assert [report.over(each) for each in measurements.over] == [
        "over its limit: memory with 200 pods: 140 MiB (limit: 93.91 MiB)"
    ]


def test_the_json_has_all_measurements_and_the_requests_of_each_user() -> None:
    measurements = Measurements()
    measurements.add("memory_before", 131.0)
    measurements.add("own_cpu", 9.0)
    phase = Measured(2.0, 1.0, 3.0, {"parent": parse([line("create", code=201), line("create", code=201)])})
    content = json.loads(json.dumps(report.document(measurements, {"pods": 1}, {"burst": phase}, {})))
    assert (content["ok"], content["over"]) == (False, ["memory_before"])
    memory, own = content["measurements"]["memory_before"], content["measurements"]["own_cpu"]
    assert (memory["measured"], memory["limit"], memory["goal"], memory["verdict"]) == (131.0, 90, 60, "over")
    assert (own["measured"], own["limit"], own["verdict"]) == (9.0, None, "shown")
    assert content["phases"]["burst"]["requests"] == {"parent": {ME: {"create pods 201": 2}}}


def test_the_cost_of_streams_through_the_parent_is_a_ratio_to_direct_streams() -> None:
    found = Found()
    opened = Sides([0.5, 0.03, 0.04], [0.02, 0.9, 0.03], own_cpu=0.3, direct_cpu=1.0)
    rate, log_rate = Sides([45.0, 9.0], [50.0, 10.0], 0.5, 2.5), Sides([1.0, 80.0], [100.0, 99.0], 1.0, 2.0)
    run.add_streams(found, Streams(opened, rate, log_rate, 100.0))
    values = {measurement.row.key: measurement.value for measurement in found.measurements.ordered()}
    assert values == pytest.approx(
        {
            "exec_opened_cpu_ratio": 0.3,
            "exec_rate_cpu_ratio": 0.2,
            "log_rate_cpu_ratio": 0.5,
            "exec_opened_ratio": 1.5,
            "exec_rate_ratio": 0.9,
            "log_rate_ratio": 0.8,
            "exec_memory": 100,
            "exec_opened": 40,
            "exec_overhead": 10,
            "exec_rate": 45,
            "exec_rate_direct": 50,
            "log_rate": 80,
            "log_rate_direct": 100,
        }
    )


def test_the_plain_loop_counts_events_until_the_bookmark_for_any_size_of_chunks() -> None:
    lines = [{"type": "ADDED", "object": {}}, {"type": "ADDED", "object": {}}, {"type": "BOOKMARK", "object": {}}]
    text = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    for size in (1, 7, len(text)):
        decoder = EventDecoder()
        ends = [decoder.feed(text[at : at + size]) for at in range(0, len(text), size)]
        assert decoder.events == 2
        assert ends == [False] * (len(ends) - 1) + [True]


def test_phases_add_up_and_idle_cpu_is_subtracted_in_proportion() -> None:
    half = Measured(10.0, 1.0, 4.0, {"parent": parse([line("create")])})
    both = half + half
    assert (both.seconds, both.everything_cpu) == (20.0, 10.0)
    assert sum(both.requests["parent"].values()) == 2
    rest = both.beyond(Measured(5.0, 0.1, 0.5))
    assert rest.own_cpu == pytest.approx(1.6)
    assert rest.cluster_cpu == pytest.approx(6.0)


def test_pods_of_a_group_are_bound_labelled_and_without_tokens_by_default() -> None:
    one, two = Group("web", 2, "alpha").manifests()
    assert [pod["metadata"]["name"] for pod in (one, two)] == ["web-0", "web-1"]
    assert one["spec"]["nodeName"] == "alpha" and one["metadata"]["labels"][GROUP] == "web"
    assert one["spec"]["automountServiceAccountToken"] is False
    (with_token,) = Group("web", 1, tokens=True).manifests()
    assert with_token["spec"]["automountServiceAccountToken"] is True and "nodeName" not in with_token["spec"]


@pytest.mark.parametrize("arguments", [["--pods", "0"], ["--idle", "x"], ["--no-such-option"], ["extra"]])
def test_wrong_usage_exits_with_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
