"""etcd of the parent or of a member is restored from an older backup: versions decrease, and changes are lost."""

from __future__ import annotations

import itertools

import pytest

from tests import members
from tests.cluster import STRATEGIC, Cluster, Json
from tests.command_line import vk
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    ends,
    idle,
    phase,
    restart_count,
    running_pods,
    runs,
    start_idle,
    wait_until_gone,
    wait_until_running,
)
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import CONFIG_MAPS, LEASES, NAMESPACES, PODS, SERVICES

pytestmark = pytest.mark.usefixtures("provider")


def test_after_a_restore_of_the_parent_members_follow_the_backup(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json, provider: Provider
) -> None:
    for name in ("stays", "changed", "removed"):
        run(parent, alpha, name, namespace)
    run(parent, alpha, "once", namespace, restartPolicy="Never")
    before = uids(alpha, namespace)
    backup = parent.backup()
    label(parent, "changed", namespace, "lost")
    eventually(lambda: tier(alpha, "changed", namespace) == "lost", "the change is in the member")
    for name in ("removed", "once"):
        parent.delete(PODS, name, namespace, grace_seconds=1)
        eventually(lambda it=name: ends(alpha, it, namespace), f"{name} ends in the member")  # type: ignore[misc]
        alpha.delete(PODS, name, namespace, grace_seconds=0)
        wait_until_gone(parent, name, namespace)
    run(parent, alpha, "lost", namespace)
    parent.restore(backup)

    eventually(lambda: ends(alpha, "lost", namespace), "a pod that is not in the backup is an orphan", 60)
    eventually(lambda: tier(alpha, "changed", namespace) == "", "the change is reverted")
    start_idle(alpha, "removed", namespace)
    eventually(lambda: restart_count(runs(parent, "removed", namespace)()) == 1, "the restored pod runs again")
    eventually(lambda: phase(parent, "once", namespace) == "Failed", "a pod that must not restart is not recreated")
    assert parent.get(PODS, "once", namespace)["status"]["reason"] == wellknown.MEMBER_POD_LOST
    assert alpha.find(PODS, "once", namespace) is None
    after = uids(alpha, namespace)
    assert (after["stays"], after["changed"]) == (before["stays"], before["changed"]), "running pods are not affected"
    assert "server went back in time" in provider.log
    parent.create(PODS, bare("new"), namespace)
    wait_until_running(parent, "new", namespace)


def test_after_a_restore_of_a_member_it_follows_the_parent_again(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json, provider: Provider
) -> None:
    for name in ("stays", "changed", "removed", "ending"):
        run(parent, alpha, name, namespace)
    before = uids(alpha, namespace)
    backup = alpha.backup()
    change = {"spec": {"containers": [{"name": "web", "image": "registry.example/web:2"}]}}
    parent.patch(PODS, "changed", change, namespace, content_type=STRATEGIC)
    eventually(lambda: image(alpha, "changed", namespace).endswith(":2"), "the change is in the member")
    for name in ("removed", "ending"):
        parent.delete(PODS, name, namespace, grace_seconds=1)
        eventually(lambda it=name: ends(alpha, it, namespace), f"{name} ends in the member")  # type: ignore[misc]
    alpha.delete(PODS, "removed", namespace, grace_seconds=0)
    wait_until_gone(parent, "removed", namespace)
    run(parent, alpha, "lost", namespace)
    lost = parent.get(PODS, "lost", namespace)["metadata"]["uid"]
    alpha.restore(backup)

    eventually(lambda: image(alpha, "changed", namespace).endswith(":2"), "the change is applied again", 60)
    for name in ("removed", "ending"):
        eventually(lambda it=name: ends(alpha, it, namespace), f"{name} is deleted again")  # type: ignore[misc]
        alpha.delete(PODS, name, namespace, grace_seconds=0)
        wait_until_gone(parent, name, namespace)
    start_idle(alpha, "lost", namespace)
    eventually(
        lambda: restart_count(runs(parent, "lost", namespace)()) == 1,
        "a pod that is not in the backup is created again",
    )
    assert parent.get(PODS, "lost", namespace)["metadata"]["uid"] == lost
    after = uids(alpha, namespace)
    assert (after["stays"], after["changed"]) == (before["stays"], before["changed"]), "running pods are not affected"
    assert "server went back in time" in provider.log


def test_a_restore_is_detected_by_the_lease_if_resource_versions_have_caught_up(
    parent: Cluster, alpha: Cluster, namespace: str, provider: Provider
) -> None:
    backup = parent.backup()
    parent.create(PODS, bare("undone"), namespace)
    wait_until_running(parent, "undone", namespace)
    wait_until_renewed(parent)
    seen, written = int(parent.position(PODS)), len(provider.log)
    with provider.paused():
        parent.restore(backup)
        number = itertools.count()
        while int(parent.position(PODS)) < seen + 100:
            parent.create(CONFIG_MAPS, {"metadata": {"name": f"more-{next(number)}"}}, namespace)
    eventually(lambda: alpha.find(PODS, "undone", namespace) is None, "a pod that is not in the backup is deleted", 90)
    assert "server went back in time" in provider.log[written:]
    members.wait_until_served(parent, "alpha", 60)


def test_after_a_restore_of_the_parent_the_status_of_a_member_is_written_again(
    parent: Cluster, alpha: Cluster, provider: Provider
) -> None:
    alpha.stop("apiserver")
    eventually(
        lambda: members.ready_condition(parent, "alpha").get("status") == "False", "the member does not answer", 60
    )
    backup = parent.backup()
    alpha.start("apiserver")
    eventually(lambda: members.is_served(parent, "alpha"), "the member answers", 60)
    wait_until_renewed(parent)
    parent.restore(backup)
    eventually(lambda: members.is_served(parent, "alpha"), "it is served despite the status in the backup", 60)
    assert known(parent)["clusterUid"] == alpha.get(NAMESPACES, "kube-system")["metadata"]["uid"]


def test_a_status_that_another_client_writes_to_a_member_is_restored(parent: Cluster, provider: Provider) -> None:
    before = known(parent)
    parent.patch(MEMBER_CLUSTERS, "alpha", {"status": {"clusterUid": "x", "conditions": []}}, subresource="status")
    eventually(lambda: known(parent) == before, "the status is restored")


def test_after_a_restore_services_stay_while_orphans_of_their_namespace_are_held(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    parent.create(PODS, bare("known"), namespace)
    wait_until_running(parent, "known", namespace)
    backup = parent.backup()
    parent.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}, namespace)
    orphans = {f"web-{number}" for number in range(12)}
    for name in sorted(orphans):
        parent.create(PODS, bare(name), namespace)
    eventually(lambda: len(running_pods(parent, namespace)) == 13, "all pods run", 60)
    eventually(lambda: alpha.find(SERVICES, "web", namespace), "their Service exists")
    position = alpha.audit_position()
    parent.restore(backup)
    eventually(lambda: condition(parent, wellknown.ORPHANS_HELD) == "True", "the pods are held", 60)
    parent.create(PODS, bare("new"), namespace)
    wait_until_running(parent, "new", namespace, 60)
    assert removed(alpha, position, namespace) == set(), "none of their objects is deleted meanwhile"
    assert vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha").exit_code == 0
    eventually(lambda: set(running_pods(alpha, namespace)) == {"known", "new"}, "the orphans are deleted", 60)
    eventually(lambda: alpha.find(SERVICES, "web", namespace) is None, "their Service is deleted", 90)


def condition(parent: Cluster, type: str) -> str:
    """The status of a condition of the member. Empty if it was never set."""
    conditions = known(parent).get("conditions", [])
    return next((str(each["status"]) for each in conditions if each["type"] == type), "")


def known(parent: Cluster) -> Json:
    found: Json = parent.get(MEMBER_CLUSTERS, "alpha")["status"]
    return found


def removed(cluster: Cluster, since: int, namespace: str) -> set[str]:
    """The objects that the provider deleted in a namespace after that position."""
    return {
        f"{request.resource} {request.name}"
        for request in cluster.requests(since)
        if (request.agent, request.verb, request.namespace) == ("vk-provider", "delete", namespace)
    }


def run(parent: Cluster, alpha: Cluster, name: str, namespace: str, **spec: str) -> None:
    parent.create(PODS, idle(name, **spec), namespace)
    start_idle(alpha, name, namespace)
    wait_until_running(parent, name, namespace)


def label(cluster: Cluster, name: str, namespace: str, value: str) -> None:
    cluster.patch(PODS, name, {"metadata": {"labels": {"tier": value}}}, namespace)


def tier(cluster: Cluster, name: str, namespace: str) -> str:
    return str(cluster.get(PODS, name, namespace)["metadata"]["labels"].get("tier", ""))


def image(cluster: Cluster, name: str, namespace: str) -> str:
    return str(cluster.get(PODS, name, namespace)["spec"]["containers"][0]["image"])


def uids(cluster: Cluster, namespace: str) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.list(PODS, namespace)}


def wait_until_renewed(parent: Cluster) -> None:
    """Waits until the Lease of alpha is renewed. A restore reverts that, even if resourceVersions have caught up."""
    before = parent.get(LEASES, "alpha", "kube-node-lease")["metadata"]["resourceVersion"]
    eventually(
        lambda: parent.get(LEASES, "alpha", "kube-node-lease")["metadata"]["resourceVersion"] != before, "it is renewed"
    )
