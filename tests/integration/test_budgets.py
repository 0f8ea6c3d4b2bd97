"""The eviction API of a member honours the PodDisruptionBudgets of the parent."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from tests.cluster import ApiFailure, Cluster, Json
from tests.waiting import eventually
from tests.workloads import idle, start_idle, wait_until_running
from vk_provider.kube.resources import POD_DISRUPTION_BUDGETS, PODS

pytestmark = pytest.mark.usefixtures("provider")


def refused(cluster: Cluster, name: str, namespace: str) -> int:
    """The status with which the eviction of a pod is refused; 0 if it is not."""
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": namespace}}
    try:
        cluster.call("POST", PODS.path(name, namespace, "eviction"), eviction)
    except ApiFailure as failure:
        return failure.status
    return 0


def judged(alpha: Cluster, namespace: str, healthy: int, allowed: int) -> bool:
    """Whether the member's disruption controller has come to these numbers, and has seen that evicted pods go.

    One that it has not seen counts as evicted for two minutes, and so does another pod with its name (disruptedPods).
    """
    found = alpha.find(POD_DISRUPTION_BUDGETS, "web", namespace) or {}
    status = found.get("status", {})
    assert (status.get("currentHealthy"), status.get("disruptionsAllowed")) == (healthy, allowed), found
    assert not status.get("disruptedPods"), found
    return True


def test_an_eviction_in_the_member_uses_what_the_parent_allows_and_the_next_is_refused(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    for name in ("web-0", "web-1"):
        pod = idle(name)
        pod["metadata"]["labels"] = {"app": "web"}
        parent.create(PODS, pod, namespace)
        start_idle(alpha, name, namespace)
        wait_until_running(parent, name, namespace)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    parent.create(POD_DISRUPTION_BUDGETS, {"metadata": {"name": "web"}, "spec": spec}, namespace)
    eventually(lambda: judged(alpha, namespace, 2, 1), "the member has the budget")
    assert refused(alpha, "web-0", namespace) == 0
    eventually(lambda: judged(alpha, namespace, 1, 0), "the member has counted the eviction")
    assert refused(alpha, "web-1", namespace) == HTTPStatus.TOO_MANY_REQUESTS
    alpha.delete(PODS, "web-0", namespace, grace_seconds=0)
    start_idle(alpha, "web-0", namespace)
    eventually(lambda: judged(alpha, namespace, 2, 1), "it runs again, and one may go")
    parent.delete(POD_DISRUPTION_BUDGETS, "web", namespace)
    eventually(lambda: not alpha.find(POD_DISRUPTION_BUDGETS, "web", namespace), "the budget goes with its original")
