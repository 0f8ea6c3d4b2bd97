"""What the parent shows and does when another client of the member ends a pod there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import pytest

from tests.cluster import Cluster, Json
from tests.members import event_reasons
from tests.waiting import eventually
from tests.workloads import IMAGE, idle, phase, set_status, start_idle, wait_until_gone, wait_until_running
from vk_provider.api import wellknown
from vk_provider.kube.resources import PODS, Resource

pytestmark = pytest.mark.usefixtures("provider")

REPLICA_SETS: Final = Resource("apps", "v1", "replicasets", "ReplicaSet")


def ended(code: int) -> Json:
    """The status of a pod whose container has exited."""
    terminated = {"exitCode": code, "reason": "Completed" if code == 0 else "Error"}
    container = {"name": "web", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0}
    statuses = [container | {"state": {"terminated": terminated}}]
    return {"phase": "Failed" if code else "Succeeded", "containerStatuses": statuses}


def reason_of_disruption(cluster: Cluster, name: str, namespace: str) -> str:
    conditions = cluster.get(PODS, name, namespace)["status"].get("conditions", [])
    return next((str(c["reason"]) for c in conditions if c["type"] == "DisruptionTarget" and c["status"] == "True"), "")


@pytest.mark.parametrize(("code", "end", "reason"), [(0, "Succeeded", ""), (137, "Failed", "DeletedInMember")])
def test_a_pod_that_ends_while_it_is_drained_has_that_end(
    code: int, end: str, reason: str, parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("step", restartPolicy="Never"), namespace)
    start_idle(alpha, "step", namespace)
    wait_until_running(parent, "step", namespace)
    alpha.delete(PODS, "step", namespace)
    set_status(alpha, "step", namespace, **ended(code))
    eventually(lambda: phase(parent, "step", namespace) == end, "its end is that of its containers")
    assert reason_of_disruption(parent, "step", namespace) == reason
    alpha.delete(PODS, "step", namespace, grace_seconds=0)
    wait_until_gone(alpha, "step", namespace)
    assert phase(parent, "step", namespace) == end


def disrupt(alpha: Cluster, name: str, namespace: str, reason: str) -> None:
    """The member's controllers give a pod up, and its kubelet is dead: the test does not end it.

    Without a time, the disruption controller would take the condition for one of an attempt that was given up.
    """
    condition = {"type": "DisruptionTarget", "status": "True", "reason": reason}
    since = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    set_status(alpha, name, namespace, conditions=[condition | {"lastTransitionTime": since}])
    alpha.delete(PODS, name, namespace)


@pytest.mark.parametrize("reason", ["DeletionByTaintManager", "PreemptionByScheduler"])
def test_a_pod_that_the_member_has_given_up_is_replaced_and_goes_when_it_is_gone_there(
    reason: str, parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": idle("web")["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    parent.create(REPLICA_SETS, {"metadata": {"name": "web"}, "spec": spec}, namespace)
    (first,) = eventually(lambda: parent.list(PODS, namespace), "the ReplicaSet makes a pod")
    name = first["metadata"]["name"]
    start_idle(alpha, name, namespace)
    wait_until_running(parent, name, namespace)
    disrupt(alpha, name, namespace, reason)
    eventually(lambda: len(parent.list(PODS, namespace)) == 2, "the ReplicaSet replaces it")
    (second,) = (p["metadata"]["name"] for p in parent.list(PODS, namespace) if p["metadata"]["name"] != name)
    assert reason_of_disruption(parent, name, namespace) == reason
    start_idle(alpha, second, namespace)
    wait_until_running(parent, second, namespace)
    assert parent.find(PODS, name, namespace), "it may still run in the member"
    alpha.delete(PODS, name, namespace, grace_seconds=0)
    wait_until_gone(parent, name, namespace)
    assert wellknown.EVICTED in event_reasons(parent, name, namespace)
    parent.delete(REPLICA_SETS, "web", namespace)
    eventually(
        lambda: "deletionTimestamp" in alpha.get(PODS, second, namespace)["metadata"], "the replacement is stopped"
    )
    alpha.delete(PODS, second, namespace, grace_seconds=0)
    wait_until_gone(parent, second, namespace)


def test_a_pod_without_a_controller_waits_for_the_member(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("web"), namespace)
    start_idle(alpha, "web", namespace)
    wait_until_running(parent, "web", namespace)
    disrupt(alpha, "web", namespace, "DeletionByTaintManager")
    eventually(lambda: wellknown.NOT_EVICTED in event_reasons(parent, "web", namespace), "an Event says that it waits")
    assert "deletionTimestamp" not in parent.get(PODS, "web", namespace)["metadata"]
    alpha.delete(PODS, "web", namespace, grace_seconds=0)
    start_idle(alpha, "web", namespace)
    eventually(lambda: reason_of_disruption(parent, "web", namespace) == "", "the next member pod is not disrupted")


def test_a_terminal_pod_has_no_living_member_pod(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    """As after a member was restored from a backup."""
    parent.create(PODS, idle("web", restartPolicy="Never"), namespace)
    start_idle(alpha, "web", namespace)
    wait_until_running(parent, "web", namespace)
    set_status(parent, "web", namespace, phase="Failed")
    eventually(
        lambda: "deletionTimestamp" in alpha.get(PODS, "web", namespace)["metadata"], "the member pod is stopped"
    )
    alpha.delete(PODS, "web", namespace, grace_seconds=0)
    assert phase(parent, "web", namespace) == "Failed"
