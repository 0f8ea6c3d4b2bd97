"""Short and long outages of the parent: members keep running, and changes are reported afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import members, workloads
from tests.cluster import Cluster, Json
from tests.integration import idle
from tests.integration.connecting import document
from tests.integration.outage_pods import Case, lines, not_ready, taints
from tests.integration.ways import FAST, PATIENCE, Ways
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    ends,
    start_idle,
    wait_until_gone,
    wait_until_running,
)
from vk_provider.kube.resources import NODES, PODS

UNREACHABLE: Final = "node.kubernetes.io/unreachable"


@pytest.fixture
def provider(ways: Ways, parent: Cluster) -> Iterator[Provider]:
    """A provider that serves alpha over the links."""
    with ways.serving(parent) as found:
        yield found


@pytest.fixture
def another_node(parent: Cluster) -> Iterator[Json]:
    """Kubernetes evicts no pods if all nodes of a cluster are unreachable."""
    with idle.idle_node(parent, "another") as node:
        yield node


@pytest.mark.parametrize("fault", ["refused", "black hole", "503", "expired certificate"])
def test_a_provider_that_starts_before_its_parent_answers_waits_for_it(
    parent: Cluster, ways: Ways, provider: Provider, fault: str
) -> None:
    provider.stop()
    written, position = len(provider.log), parent.audit_position()
    ways.parent.fault(fault)
    provider.start()
    logged = eventually(lambda: lines(provider.log[written:], "waiting for the parent"), "the log has the message", 60)
    assert ways.parent.server in logged[0]
    assert "remedy=" in logged[0]
    ways.parent.heal()
    eventually(lambda: renewed(parent, position), "the provider serves", 90)
    assert len(lines(provider.log[written:], "waiting for the parent")) == 1, "logged once, not at every attempt"


def test_a_provider_that_waits_for_its_parent_stops_gracefully_on_sigterm(ways: Ways, provider: Provider) -> None:
    provider.stop()
    written, accepted = len(provider.log), ways.parent.proxy.accepted
    ways.parent.fault("black hole")
    provider.start()
    eventually(lambda: ways.parent.proxy.accepted > accepted, "the provider sends a request")
    assert provider.stop() == 0
    assert provider.log[written:].rstrip().endswith("message=stopped")


@pytest.mark.parametrize(
    ("token", "expected"), [("unknown", "does not accept the credential"), ("", "certificate is not trusted")]
)
def test_a_permanent_error_ends_the_provider_at_once(
    parent: Cluster,
    alpha: Cluster,
    tmp_path: Path,
    start_provider: Callable[[Path], Provider],
    token: str,
    expected: str,
) -> None:
    content = document(parent, None, {"token": token or "unused"})
    if not token:
        content["clusters"][0]["cluster"]["certificate-authority-data"] = alpha.ca_data
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(content))
    provider = start_provider(file)
    assert provider.wait() == 1
    (line,) = provider.log.splitlines()
    assert expected in line


@pytest.mark.parametrize("how", ["stopped", "refused", "black hole"])
def test_changes_in_a_member_during_an_outage_of_the_parent_are_reported_afterwards(
    parent: Cluster, alpha: Cluster, ways: Ways, provider: Provider, namespace: str, idle_node: Json, how: str
) -> None:
    case = Case.begin(parent, alpha, provider, namespace)
    written = len(provider.log)
    if how == "stopped":
        for service in ("apiserver", "etcd"):
            parent.stop(service)
    else:
        ways.parent.fault(how)
    eventually(lambda: lines(provider.log[written:], "lease not renewed"), "the provider detects the outage", 60)
    case.change_in_the_member()
    if how == "stopped":
        parent.revive()
    else:
        ways.parent.heal()
    case.wait_until_reported(["stays", "restarts"])
    case.check(made={"lost": 1}, deleted=set())


def test_an_outage_longer_than_watches_and_lease_keeps_all_pods_with_tolerations(
    parent: Cluster,
    alpha: Cluster,
    ways: Ways,
    provider: Provider,
    namespace: str,
    idle_node: Json,
    another_node: Json,
) -> None:
    """The parent keeps running, taints the node, and discards the history of its objects."""
    case = Case.begin(parent, alpha, provider, namespace, "evicted", "removed", "forced")
    ways.parent.fault("black hole")
    case.change_in_the_member()
    eventually(lambda: UNREACHABLE in taints(parent, "alpha"), "Kubernetes taints the node", PATIENCE)
    eventually(
        lambda: "deletionTimestamp" in parent.get(PODS, "evicted", namespace)["metadata"],
        "Kubernetes evicts the pod",
        60,
    )
    parent.delete(PODS, "removed", namespace, grace_seconds=1)
    parent.delete(PODS, "forced", namespace, grace_seconds=0)
    parent.patch(PODS, "stays", {"metadata": {"labels": {"tier": "new"}}}, namespace)
    parent.create(PODS, workloads.idle("new"), namespace)
    parent.stop("apiserver")
    parent.revive()  # its watch cache starts here: older watches cannot resume
    written = len(provider.log)
    ways.parent.heal()

    for name in ("evicted", "removed", "forced"):
        eventually(lambda it=name: ends(alpha, it, namespace), f"{name} ends in the member", PATIENCE)  # type: ignore[misc]
        alpha.delete(PODS, name, namespace, grace_seconds=0)
        wait_until_gone(parent, name, namespace, PATIENCE)
    eventually(lambda: alpha.find(PODS, "new", namespace), "the new pod is created", PATIENCE)
    start_idle(alpha, "new", namespace, seconds=PATIENCE)
    wait_until_running(parent, "new", namespace, PATIENCE)
    assert alpha.get(PODS, "stays", namespace)["metadata"]["labels"]["tier"] == "new"
    eventually(lambda: not taints(parent, "alpha"), "the node is Ready", PATIENCE)
    case.wait_until_reported(["stays", "restarts", "new"])
    case.check(made={"lost": 1, "new": 1}, deleted={"evicted", "removed", "forced"})
    assert "too old resource version" in provider.log[written:]


def test_a_member_that_stops_answering_during_an_outage_of_the_parent_is_not_declared_lost(
    parent: Cluster, alpha: Cluster, ways: Ways, provider: Provider, namespace: str
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace, PATIENCE)
    since = parent.position(NODES)
    written = len(provider.log)
    ways.parent.fault("refused")
    eventually(lambda: lines(provider.log[written:], "lease not renewed"), "the provider detects the outage", 60)
    ways.member.fault("refused")
    eventually(lambda: lines(provider.log[written:], "state=Frozen"), "the health is frozen", 60)
    written = len(provider.log)
    eventually(
        lambda: len(lines(provider.log[written:], "lease not renewed")) > 1,
        "the outage is longer than lostAfterSeconds",
        60,
    )
    ways.member.heal()
    eventually(lambda: lines(provider.log[written:], "state=Healthy"), "the member answers", 60)
    ways.parent.heal()
    members.wait_until_served(parent, "alpha", PATIENCE)
    assert "state=Lost" not in provider.log[written:]
    assert not_ready(parent, since) == []
    wait_until_running(parent, "web", namespace, PATIENCE)


def test_the_health_of_a_member_during_an_outage_of_the_parent_is_reported_afterwards(
    parent: Cluster, ways: Ways, provider: Provider
) -> None:
    members.set_health(parent, "alpha", FAST | {"lostAfterSeconds": 300})
    members.wait_until_served(parent, "alpha")
    ways.member.fault("refused")
    eventually(lambda: members.ready_condition(parent, "alpha")["status"] == "False", "the member is suspect", 60)
    written = len(provider.log)
    ways.parent.fault("refused")
    eventually(lambda: lines(provider.log[written:], "not renewed"), "the provider detects the outage", 60)
    ways.member.heal()
    eventually(lambda: lines(provider.log[written:], "state=Healthy"), "the member answers", 60)
    ways.parent.heal()
    members.wait_until_served(parent, "alpha", 60)
    members.set_health(parent, "alpha", FAST)


def renewed(parent: Cluster, since: int) -> bool:
    return any(
        (request.verb, request.resource, request.name) == ("patch", "leases", "alpha")
        for request in parent.requests(since)
    )
