"""The clock of the provider's machine jumps forward and back while the provider runs."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests import members
from tests.cluster import Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from tests.wallclock import WallClock
from tests.workloads import idle, restart_count, runs, start_idle, wait_until_running
from vk_provider.kube.resources import LEASES, NODES, PODS

HOUR = 3600


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def provider(parent: Cluster, _session_provider: Provider, clock: WallClock, tmp_path: Path) -> Iterator[Provider]:
    """A provider with this clock."""
    _session_provider.stop()
    provider = Provider(parent.kubeconfig, tmp_path / "provider.log", clock.environment)
    provider.start()
    members.wait_until_served(parent, "alpha", 60)
    yield provider
    provider.stop()


@pytest.mark.parametrize("seconds", [12 * HOUR, -240])  # with a larger jump, no certificate would be valid yet
def test_a_jump_of_the_clock_does_not_affect_pods_or_leases(
    parent: Cluster,
    alpha: Cluster,
    provider: Provider,
    clock: WallClock,
    namespace: str,
    idle_node: Json,
    seconds: int,
) -> None:
    before = parent.create(PODS, idle("web"), namespace)["metadata"]["uid"]
    uid = start_idle(alpha, "web", namespace)["metadata"]["uid"]
    wait_until_running(parent, "web", namespace)
    position, since = alpha.audit_position(), parent.position(NODES)
    clock.jump(seconds)
    renewed = lease(parent)["renewTime"]
    eventually(lambda: lease(parent)["renewTime"] != renewed, "the Lease is renewed")
    assert abs((now() - datetime.fromisoformat(lease(parent)["renewTime"])).total_seconds()) < 60

    parent.create(PODS, idle("late"), namespace)
    start_idle(alpha, "late", namespace)
    wait_until_running(parent, "late", namespace)
    assert jumped(provider.log, seconds), "its own clock has jumped"
    alpha.delete(PODS, "late", namespace, grace_seconds=0)
    start_idle(alpha, "late", namespace)
    eventually(lambda: restart_count(runs(parent, "late", namespace)()) == 1, "the lost pod runs again")
    parent.delete(PODS, "late", namespace, grace_seconds=3)
    eventually(lambda: "deletionTimestamp" in alpha.get(PODS, "late", namespace)["metadata"], "it is being deleted")
    grace = alpha.get(PODS, "late", namespace)["metadata"]["deletionGracePeriodSeconds"]
    assert 1 <= grace <= 3, "the remaining grace period"
    alpha.delete(PODS, "late", namespace, grace_seconds=0)

    for node in parent.history(NODES, "alpha", since):
        for each in node["status"]["conditions"]:
            assert (each["type"], each["status"]) != ("Ready", "False")
            assert abs((now() - datetime.fromisoformat(each["lastHeartbeatTime"])).total_seconds()) < 600
    assert parent.get(PODS, "web", namespace)["metadata"]["uid"] == before
    assert alpha.get(PODS, "web", namespace)["metadata"]["uid"] == uid
    assert "state=" not in provider.log.partition("kubelet API served")[2], "no member was suspect"
    asked = [request for request in alpha.requests(position) if request.namespace == namespace]
    assert [request for request in asked if (request.verb, request.name) == ("delete", "web")] == []


def lease(parent: Cluster) -> Json:
    found: Json = parent.get(LEASES, "alpha", "kube-node-lease")["spec"]
    return found


def now() -> datetime:
    return datetime.now(UTC)


def jumped(log: str, seconds: int) -> bool:
    """Whether the time in the last line of a log differs from now by at least half of `seconds`."""
    stamp = log.splitlines()[-1].partition("time=")[2].split()[0]
    return abs((datetime.fromisoformat(stamp) - now()).total_seconds()) > abs(seconds) / 2
