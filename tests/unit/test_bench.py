"""The bench without clusters: budgets, audit logs, processes and the report."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from bench import process, report
from bench.audit import AuditLog, Purpose, Request, by, count, parse
from bench.budget import DECISIVE, ROWS, Kind, Row
from bench.cli import main
from bench.errors import BenchError
from bench.figures import Figure, Figures, percentile
from bench.latency import latencies
from bench.meter import Measured
from bench.pods import GROUP, Group
from bench.program import Program
from bench.stall import Stalls, StallWatch
from rich.console import Console

ME = "system:serviceaccount:kube-system:program-under-test"


def line(verb: str, resource: str = "pods", *, user: str = ME, **more: Any) -> bytes:
    """One line of an audit log, as kube-apiserver writes it; `at` and `took` are in seconds."""
    reference, _, subresource = resource.partition("/")
    at, took = more.get("at", 0.0), more.get("took", 0.0)
    entry = {
        "kind": "Event",
        "stage": more.get("stage", "ResponseComplete"),
        "verb": verb,
        "user": {"username": user, "groups": ["system:authenticated"]},
        "requestReceivedTimestamp": f"2025-01-02T03:04:{at:09.6f}Z",
        "stageTimestamp": f"2025-01-02T03:04:{at + took:09.6f}Z",
        "responseStatus": {"metadata": {}, "code": more.get("code", 200)},
    }
    if resource:
        about = {"resource": reference, "name": more.get("name", "web-0"), "namespace": "bench", "apiVersion": "v1"}
        entry["objectRef"] = about | ({"subresource": subresource} if subresource else {})
    return json.dumps(entry).encode()


def test_a_watch_counts_once_when_it_begins_and_other_requests_once_when_they_end() -> None:
    found = parse([line("watch", stage="ResponseStarted"), line("watch"), line("get", stage="ResponseStarted")])
    assert found == Counter({Request(ME, "watch", "pods", 200): 1})


@pytest.mark.parametrize(
    ("verb", "resource", "purpose"),
    [
        ("create", "pods", Purpose.POD_LIFE),
        ("patch", "pods/status", Purpose.POD_LIFE),
        ("update", "shadowpods/status", Purpose.POD_LIFE),
        ("create", "serviceaccounts/token", Purpose.DEPENDENTS),
        ("delete", "secrets", Purpose.DEPENDENTS),
        ("create", "events", Purpose.EVENTS),
        ("patch", "nodes/status", Purpose.NODE),
        ("patch", "leases", Purpose.NODE),
        ("create", "selfsubjectaccessreviews", Purpose.ACCESS),
        ("watch", "secrets", Purpose.WATCH),
        ("list", "pods", Purpose.WATCH),
        ("get", "", Purpose.PROBE),
    ],
)
def test_what_a_request_is_for_is_told_by_its_resource(verb: str, resource: str, purpose: Purpose) -> None:
    stage = "ResponseStarted" if verb == "watch" else "ResponseComplete"
    (request,) = parse([line(verb, resource, stage=stage)])
    assert request.purpose is purpose


def test_reading_the_namespace_by_which_a_cluster_is_known_is_a_probe() -> None:
    (probe,), (other,) = [parse([line("get", "namespaces", name=name)]) for name in ("kube-system", "shop")]
    assert (probe.purpose, other.purpose) == (Purpose.PROBE, Purpose.POD_LIFE)


def test_only_requests_of_the_user_and_purposes_asked_for_are_counted() -> None:
    found = parse([line("create"), line("create"), line("create", user="kubernetes-admin"), line("create", "events")])
    assert count(by(found, ME), Purpose.POD_LIFE) == 2
    assert count(by(found, ME), Purpose.POD_LIFE, Purpose.EVENTS) == 3


@pytest.mark.parametrize(
    ("verb", "resource", "writes"),
    [("create", "pods", True), ("patch", "pods/status", True), ("get", "pods", False), ("patch", "leases", False)],
)
def test_writes_to_pods_are_told_from_the_rest(verb: str, resource: str, writes: bool) -> None:
    assert Request(ME, verb, resource, 200).writes_pod is writes


def test_a_log_is_read_from_where_it_was_left_and_half_a_line_waits(tmp_path: Path) -> None:
    file = tmp_path / "audit.json"
    file.write_bytes(line("get") + b"\n")
    log = AuditLog(file)
    assert log.take() == Counter()
    with file.open("ab") as handle:
        whole = line("create") + b"\n"
        handle.write(whole + whole[:20])
        handle.flush()
        assert log.take() == Counter({Request(ME, "create", "pods", 200): 1})
        handle.write(whole[20:])
    assert log.take() == Counter({Request(ME, "create", "pods", 200): 1})
    assert log.take() == Counter()


def _log(file: Path, *lines: bytes) -> AuditLog:
    file.write_bytes(b"")
    log = AuditLog(file)
    file.write_bytes(b"".join(line + b"\n" for line in lines))
    return log


def test_latency_is_from_an_answer_here_to_the_request_there(tmp_path: Path) -> None:
    kwok, bench = "kwok", "admin"
    parent = _log(
        tmp_path / "parent",
        line("create", user=bench, name="web-0", at=1.0, took=0.005),
        line("patch", "pods/status", name="web-0", at=1.030),  # Pending
        line("patch", "pods/status", name="web-0", at=1.070),  # Running
        line("patch", "pods/status", name="web-0", at=1.090, code=409),
    )
    member = _log(
        tmp_path / "member",
        line("create", name="web-0", at=1.015, took=0.005),
        line("patch", "pods/status", user=kwok, name="web-0", at=1.040, took=0.010),
    )
    found = latencies(parent, member, Group("web", 1), ME)
    assert found.created == [pytest.approx(0.010)]
    assert found.running == [pytest.approx(0.020)]


def test_a_pod_without_all_its_steps_in_the_logs_is_not_guessed(tmp_path: Path) -> None:
    parent, member = _log(tmp_path / "parent", line("create", name="web-0")), _log(tmp_path / "member")
    with pytest.raises(BenchError, match="web-0"):
        latencies(parent, member, Group("web", 1), ME)


@pytest.mark.parametrize(("share", "value"), [(0.5, 2), (0.99, 4), (0.0, 1), (0.51, 3)])
def test_a_percentile_is_one_of_the_values(share: float, value: float) -> None:
    assert percentile([4, 1, 3, 2], share) == value


CPU = Row("own", "own CPU", "ms", Kind.CPU, 5)


@pytest.mark.parametrize(
    ("row", "value", "ratio", "over", "fails"),
    [
        (CPU, 2.5, 0.5, False, False),
        (CPU, 5.004, 1.0008, False, False),  # shown as 5.00
        (CPU, 6, 1.2, True, True),
        (CPU, None, None, False, False),
        (Row("time", "", "s", Kind.TIME, 5), 6, 1.2, True, False),
        (Row("rate", "", "pods/s", Kind.TIME, 30, at_least=True), 15, 2, True, False),
        (Row("rate", "", "pods/s", Kind.TIME, 30, at_least=True), 60, 0.5, False, False),
        (Row("none", "", "", Kind.COUNT), 6, None, False, False),
        (Row("writes", "", "", Kind.COUNT, 0), 0, 0, False, False),
        (Row("writes", "", "", Kind.COUNT, 0), 1, None, True, True),
    ],
)
def test_over_budget_fails_only_where_other_users_of_the_machine_do_not_matter(
    row: Row, value: float | None, ratio: float | None, over: bool, fails: bool
) -> None:
    figure = Figure(row, value, 0)
    assert figure.ratio == pytest.approx(ratio)
    assert (figure.over, figure.fails) == (over, fails)


def test_memory_has_a_budget_that_grows_with_the_pods() -> None:
    (row,) = [row for row in ROWS if row.key == "memory_large"]
    assert row.budget(5000) == pytest.approx(80 + 5000 * 20 / 1024)


def test_every_row_of_the_table_has_a_key_of_its_own() -> None:
    assert len({row.key for row in ROWS}) == len(ROWS)


def test_seconds_decide_nothing() -> None:
    assert Kind.TIME not in DECISIVE


def test_figures_stand_in_the_order_of_the_table_whatever_the_order_they_were_found_in() -> None:
    figures = Figures()
    figures.add("idle_cpu", 0.1, 500)
    figures.add("own_cpu", 6.0, 500)
    assert [figure.row.key for figure in figures.ordered()] == ["own_cpu", "idle_cpu"]
    assert [figure.row.key for figure in figures.failing] == ["own_cpu"]


def test_the_table_shows_figure_budget_ratio_and_what_is_over() -> None:
    figures = Figures()
    figures.add("own_cpu", 6.0, 500)
    figures.add("stall", None, 500)
    console = Console(width=140)
    with console.capture() as capture:
        report.show(figures, "bench", console)
    (own,) = [row for row in capture.get().splitlines() if "own CPU per pod life" in row]
    assert all(text in own for text in ("6.00 ms", "5 ms", "1.20", "OVER"))
    assert "n/a" in capture.get()


def test_the_json_has_every_figure_and_who_asked_what() -> None:
    figures = Figures()
    figures.add("memory_before", 81.0)
    phase = Measured(2.0, 1.0, 3.0, {"parent": parse([line("create", code=201), line("create", code=201)])})
    content = json.loads(json.dumps(report.document(figures, {"pods": 1}, {"burst": phase}, {})))
    assert content["ok"] is False
    assert content["figures"]["memory_before"]["ratio"] == pytest.approx(81 / 80)
    assert content["phases"]["burst"]["requests"] == {"parent": {ME: {"create pods 201": 2}}}


def test_phases_add_up_and_idle_time_is_taken_off_in_proportion() -> None:
    half = Measured(10.0, 1.0, 4.0, {"parent": parse([line("create")])})
    both = half + half
    assert (both.seconds, both.everything_cpu) == (20.0, 10.0)
    assert sum(both.requests["parent"].values()) == 2
    rest = both.beyond(Measured(5.0, 0.1, 0.5))
    assert rest.own_cpu == pytest.approx(1.6)
    assert rest.cluster_cpu == pytest.approx(6.0)


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    """A shell with a child that keeps a core busy until somebody ends it."""
    script = f"{sys.executable} -c 'while True: pass' & wait"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as shell:
        yield shell
        os.killpg(shell.pid, signal.SIGKILL)


def test_a_tree_has_the_children_and_their_cpu_and_memory(spinning: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.cpu_seconds(process.tree(spinning.pid)) < 0.1 and time.monotonic() < deadline:
        time.sleep(0.02)
    pids = process.tree(spinning.pid)
    assert len(pids) == 2
    assert process.cpu_seconds(pids) >= 0.1 > process.cpu_seconds([spinning.pid])
    assert process.memory_bytes(pids) > 2**20


def test_a_process_that_has_ended_counts_nothing() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert process.cpu_seconds([ended.pid]) == process.memory_bytes([ended.pid]) == 0


def _program(tmp_path: Path, script: str) -> Program:
    return Program([sys.executable, "-c", script], {}, tmp_path / "log", None)


async def test_a_program_that_ends_by_itself_ends_the_measurement(tmp_path: Path) -> None:
    program = _program(tmp_path, "raise SystemExit('no such cluster')")
    await program.start()
    with pytest.raises(BenchError, match="no such cluster"):
        await program.during(asyncio.Event().wait())
    await program.stop()


async def test_a_program_that_is_killed_and_started_again_does_not(tmp_path: Path) -> None:
    program = _program(tmp_path, "import time; time.sleep(600)")
    await program.start()

    async def restart() -> list[int]:
        before = program.pids()
        await program.kill()
        await program.start()
        return before

    before = await program.during(restart())
    after = program.pids()
    assert before and after and not set(before) & set(after)
    await program.kill()
    assert program.pids() == []


async def test_a_stall_is_as_long_as_the_loop_stood_still(tmp_path: Path) -> None:
    file = tmp_path / "stalls.json"
    watch = StallWatch(file)
    watch.begin()
    await asyncio.sleep(0.02)
    end = time.thread_time() + 0.2
    while time.thread_time() < end:  # as a callback that computes for 200 ms
        pass
    await asyncio.sleep(0.02)
    watch.end()
    found = msgspec.json.decode(file.read_bytes(), type=Stalls)
    assert 0.18 <= found.cpu <= found.wall


async def test_a_loop_that_only_waits_has_no_stall_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "stalls.json"
    watch = StallWatch(file)
    watch.begin()
    await asyncio.sleep(0.05)
    watch.end()
    assert msgspec.json.decode(file.read_bytes(), type=Stalls).cpu < 0.05


def test_pods_of_a_group_are_bound_labelled_and_without_tokens_unless_asked() -> None:
    one, two = Group("web", 2, "alpha").manifests()
    assert [pod["metadata"]["name"] for pod in (one, two)] == ["web-0", "web-1"]
    assert one["spec"]["nodeName"] == "alpha" and one["metadata"]["labels"][GROUP] == "web"
    assert one["spec"]["automountServiceAccountToken"] is False
    (with_token,) = Group("web", 1, tokens=True).manifests()
    assert with_token["spec"]["automountServiceAccountToken"] is True and "nodeName" not in with_token["spec"]


@pytest.mark.parametrize("arguments", [["--pods", "0"], ["--idle", "x"], ["--no-such-option"], ["extra"]])
def test_wrong_usage_has_a_status_of_its_own(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
