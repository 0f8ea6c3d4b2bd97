"""A pod of the parent from its creation to its end, from the perspective of users. The member has fake nodes."""

from __future__ import annotations

import pytest

from tests.cluster import STRATEGIC, Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    idle,
    phase,
    pod,
    restart_count,
    set_status,
    start_idle,
    wait_until_gone,
    wait_until_running,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES, PODS

pytestmark = pytest.mark.usefixtures("provider")


def test_a_pod_runs_in_the_member_and_its_status_is_in_the_parent(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    selector = {wellknown.CLUSTER_LABEL: "alpha"}
    created = parent.create(PODS, pod("web", node="", nodeSelector=selector), namespace)
    shown = wait_until_running(parent, "web", namespace)
    assert shown["spec"]["nodeName"] == "alpha"
    member = alpha.get(PODS, "web", namespace)
    assert member["metadata"]["annotations"][wellknown.PARENT_UID] == created["metadata"]["uid"]
    assert member["spec"]["nodeName"].startswith("alpha-")
    assert shown["status"]["podIP"] == member["status"]["podIP"]
    ready = {condition["type"]: condition["status"] for condition in shown["status"]["conditions"]}
    assert ready["Ready"] == ready["PodScheduled"] == "True"
    assert restart_count(shown) == 0


def test_a_deleted_pod_is_deleted_in_both_clusters(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    parent.create(PODS, pod("web"), namespace)
    wait_until_running(parent, "web", namespace)
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    assert alpha.find(PODS, "web", namespace) is None


def test_the_parent_pod_exists_until_the_member_pod_is_deleted(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("slow"), namespace)
    start_idle(alpha, "slow", namespace)
    wait_until_running(parent, "slow", namespace)
    parent.delete(PODS, "slow", namespace, grace_seconds=1)
    eventually(
        lambda: "deletionTimestamp" in alpha.get(PODS, "slow", namespace)["metadata"], "the member pod is being deleted"
    )
    parent.create(PODS, bare("after"), namespace)
    wait_until_running(parent, "after", namespace)
    assert "deletionTimestamp" in parent.get(PODS, "slow", namespace)["metadata"]
    alpha.delete(PODS, "slow", namespace, grace_seconds=0)
    wait_until_gone(parent, "slow", namespace)


def test_a_deleted_pod_shows_the_end_of_its_containers(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("job", restartPolicy="Never"), namespace)
    start_idle(alpha, "job", namespace)
    wait_until_running(parent, "job", namespace)
    parent.delete(PODS, "job", namespace)
    eventually(
        lambda: "deletionTimestamp" in alpha.get(PODS, "job", namespace)["metadata"], "the member pod is being deleted"
    )
    ended = {"terminated": {"exitCode": 143, "reason": "Error"}}
    container = {"name": "web", "image": "x", "imageID": "", "ready": False, "restartCount": 0, "state": ended}
    set_status(alpha, "job", namespace, phase="Failed", containerStatuses=[container | {"state": ended}])
    eventually(lambda: phase(parent, "job", namespace) == "Failed", "the parent pod shows the result")
    alpha.delete(PODS, "job", namespace, grace_seconds=0)
    wait_until_gone(parent, "job", namespace)


def test_a_pod_with_the_same_name_waits_until_the_old_one_has_ended(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("db-0"), namespace)
    old = start_idle(alpha, "db-0", namespace)["metadata"]["uid"]
    wait_until_running(parent, "db-0", namespace)
    parent.delete(PODS, "db-0", namespace, grace_seconds=0)
    second = parent.create(PODS, idle("db-0"), namespace)["metadata"]["uid"]
    eventually(
        lambda: "deletionTimestamp" in alpha.get(PODS, "db-0", namespace)["metadata"],
        "the old member pod is being deleted",
    )
    assert alpha.get(PODS, "db-0", namespace)["metadata"]["uid"] == old
    assert phase(parent, "db-0", namespace) == "Pending"
    alpha.delete(PODS, "db-0", namespace, grace_seconds=0)
    member = start_idle(alpha, "db-0", namespace)["metadata"]
    assert member["annotations"][wellknown.PARENT_UID] == second
    shown = wait_until_running(parent, "db-0", namespace)
    assert (shown["metadata"]["uid"], restart_count(shown)) == (second, 0)


def test_a_pod_deleted_by_force_in_the_parent_is_deleted_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    parent.delete(PODS, "web", namespace, grace_seconds=0)
    assert parent.find(PODS, "web", namespace) is None
    wait_until_gone(alpha, "web", namespace)


def test_a_second_delete_shortens_the_grace_period_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("web", terminationGracePeriodSeconds=600), namespace)
    eventually(lambda: alpha.find(PODS, "web", namespace), "the member pod exists")
    eventually(lambda: alpha.get(PODS, "web", namespace)["spec"].get("nodeName"), "the member pod is bound")
    parent.delete(PODS, "web", namespace)

    def grace() -> int:
        return int(alpha.get(PODS, "web", namespace)["metadata"].get("deletionGracePeriodSeconds", -1))

    eventually(lambda: 500 < grace() <= 600, "the grace period reaches the member")
    parent.delete(PODS, "web", namespace, grace_seconds=3)
    eventually(lambda: 0 < grace() <= 3, "the shorter grace period reaches the member")
    alpha.delete(PODS, "web", namespace, grace_seconds=0)
    wait_until_gone(parent, "web", namespace)


def test_a_pod_deleted_while_its_member_does_not_answer_is_deleted_when_it_answers(
    parent: Cluster, alpha: Cluster, namespace: str, provider: Provider
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    alpha.stop("apiserver")
    try:
        parent.delete(PODS, "web", namespace, grace_seconds=1)
        eventually(lambda: provider.log.count("watch failed") > 3, "the provider detects the outage")
        assert "deletionTimestamp" in parent.get(PODS, "web", namespace)["metadata"]
    finally:
        alpha.start("apiserver")
    wait_until_gone(parent, "web", namespace, 60)
    assert alpha.find(PODS, "web", namespace) is None


def test_pods_survive_a_restart_of_the_parents_api_server(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    parent.create(PODS, bare("before"), namespace)
    wait_until_running(parent, "before", namespace)
    uid = alpha.get(PODS, "before", namespace)["metadata"]["uid"]
    parent.stop("apiserver")
    parent.start("apiserver")
    parent.create(PODS, bare("after"), namespace)
    wait_until_running(parent, "after", namespace, 60)
    assert alpha.get(PODS, "before", namespace)["metadata"]["uid"] == uid


def test_a_finished_pod_is_final(parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json) -> None:
    parent.create(PODS, idle("job", restartPolicy="OnFailure"), namespace)
    start_idle(alpha, "job", namespace)
    wait_until_running(parent, "job", namespace)
    ended = {"terminated": {"exitCode": 0, "reason": "Completed"}}
    container = {"name": "web", "state": ended, "ready": False, "restartCount": 0, "image": "x", "imageID": ""}
    set_status(alpha, "job", namespace, phase="Succeeded", containerStatuses=[container])
    eventually(lambda: phase(parent, "job", namespace) == "Succeeded", "the parent pod has succeeded")
    shown = parent.get(PODS, "job", namespace)["status"]
    assert shown["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert alpha.find(PODS, "job", namespace), "the member pod is kept for its logs"
    alpha.delete(PODS, "job", namespace, grace_seconds=0)
    parent.create(PODS, bare("after"), namespace)
    wait_until_running(parent, "after", namespace)
    assert parent.get(PODS, "job", namespace)["status"] == shown
    assert alpha.find(PODS, "job", namespace) is None
    parent.delete(PODS, "job", namespace)
    wait_until_gone(parent, "job", namespace)


def test_labels_and_image_of_a_running_pod_follow_the_parent(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    uid = alpha.get(PODS, "web", namespace)["metadata"]["uid"]
    change = {
        "metadata": {"labels": {"tier": "front"}},
        "spec": {"containers": [{"name": "web", "image": "registry.example/web:2"}]},
    }
    parent.patch(PODS, "web", change, namespace, content_type=STRATEGIC)
    eventually(
        lambda: alpha.get(PODS, "web", namespace)["metadata"]["labels"].get("tier") == "front", "the label is copied"
    )
    parent.patch(PODS, "web", {"metadata": {"labels": {"tier": None}}}, namespace)
    eventually(lambda: "tier" not in alpha.get(PODS, "web", namespace)["metadata"]["labels"], "the label is removed")
    member = alpha.get(PODS, "web", namespace)
    assert member["spec"]["containers"][0]["image"] == "registry.example/web:2"
    assert member["metadata"]["uid"] == uid


def test_a_namespace_deleted_in_the_parent_is_deleted_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, pod("web"), namespace)
    wait_until_running(parent, "web", namespace)
    assert alpha.get(NAMESPACES, namespace)["metadata"]["labels"][wellknown.NODE_LABEL] == "alpha"
    parent.delete(NAMESPACES, namespace)
    eventually(lambda: parent.find(NAMESPACES, namespace) is None, "the namespace is deleted in the parent", 60)
    eventually(lambda: alpha.find(NAMESPACES, namespace) is None, "the namespace is deleted in the member", 60)


def test_a_pod_bound_without_a_scheduler_is_rejected_if_its_host_port_is_in_use(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    port = {"containerPort": 80, "hostPort": 31234}
    containers = [{"name": "web", "image": "registry.example/web:1", "ports": [port]}]
    parent.create(PODS, bare("first", containers=containers), namespace)
    wait_until_running(parent, "first", namespace)
    parent.create(PODS, bare("second", containers=containers), namespace)
    eventually(lambda: phase(parent, "second", namespace) == "Failed", "the second pod is rejected")
    status = parent.get(PODS, "second", namespace)["status"]
    assert (status["reason"], f"{namespace}/first" in status["message"]) == ("NodePorts", True)
    assert alpha.find(PODS, "second", namespace) is None


def test_a_pod_bound_without_a_scheduler_is_rejected_if_the_node_does_not_match(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, bare("there", nodeSelector={wellknown.CLUSTER_LABEL: "alpha"}), namespace)
    parent.create(PODS, bare("elsewhere", nodeSelector={"disk": "ssd"}), namespace)
    wait_until_running(parent, "there", namespace)
    eventually(lambda: phase(parent, "elsewhere", namespace) == "Failed", "the pod is rejected")
    assert parent.get(PODS, "elsewhere", namespace)["status"]["reason"] == "NodeAffinity"
    assert alpha.find(PODS, "elsewhere", namespace) is None
