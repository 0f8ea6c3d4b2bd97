"""The benchmark's counts and latencies, from audit logs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from bench.audit import AuditLog, Purpose, Request, by, count, parse, writes
from bench.errors import BenchError
from bench.latency import latencies
from bench.pods import Group

from tests.unit.audit_lines import ME, line


def test_a_watch_counts_once_at_its_start_and_other_requests_once_at_their_end() -> None:
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
def test_the_purpose_of_a_request_depends_on_its_resource(verb: str, resource: str, purpose: Purpose) -> None:
    stage = "ResponseStarted" if verb == "watch" else "ResponseComplete"
    (request,) = parse([line(verb, resource, stage=stage)])
    assert request.purpose is purpose


def test_reading_the_namespace_that_identifies_a_cluster_is_a_probe() -> None:
    (probe,), (other,) = [parse([line("get", "namespaces", name=name)]) for name in ("kube-system", "shop")]
    assert (probe.purpose, other.purpose) == (Purpose.PROBE, Purpose.POD_LIFE)


def test_only_requests_of_the_given_user_and_purposes_are_counted() -> None:
    found = parse([line("create"), line("create"), line("create", user="kubernetes-admin"), line("create", "events")])
    assert count(by(found, ME), Purpose.POD_LIFE) == 2
    assert count(by(found, ME), Purpose.POD_LIFE, Purpose.EVENTS) == 3


@pytest.mark.parametrize(
    ("verb", "resource", "writes"),
    [("create", "pods", True), ("patch", "pods/status", True), ("get", "pods", False), ("patch", "leases", False)],
)
def test_writes_to_pods_are_distinguished_from_other_requests(verb: str, resource: str, writes: bool) -> None:
    assert Request(ME, verb, resource, 200).writes_pod is writes


def test_a_log_is_read_incrementally_and_an_incomplete_line_waits(tmp_path: Path) -> None:
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


def test_a_latency_is_from_the_answer_of_one_server_to_the_request_to_the_other(tmp_path: Path) -> None:
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


def test_a_pod_without_all_steps_in_the_logs_is_an_error(tmp_path: Path) -> None:
    parent, member = _log(tmp_path / "parent", line("create", name="web-0")), _log(tmp_path / "member")
    with pytest.raises(BenchError, match="web-0"):
        latencies(parent, member, Group("web", 1), ME)


def test_writes_are_the_requests_that_change_a_stored_object() -> None:
    found = parse([line("patch", "leases"), line("create", "events"), line("create", "tokenreviews"), line("get")])
    assert writes(found) == 2
