"""etcd of the parent or of a member is restored from an older backup: versions go back, and what was done is undone."""

from __future__ import annotations

import pytest

from tests.cluster import STRATEGIC, Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    idle,
    phase,
    restart_count,
    runs,
    start_idle,
    wait_until_gone,
    wait_until_running,
)
from vk_provider.api import words
from vk_provider.kube.resources import PODS

pytestmark = pytest.mark.usefixtures("provider")


def test_after_a_restore_of_the_parent_its_backup_is_what_counts(
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

    eventually(lambda: ends(alpha, "lost", namespace), "a pod that the backup does not know is an orphan", 60)
    eventually(lambda: tier(alpha, "changed", namespace) == "", "the change is undone")
    start_idle(alpha, "removed", namespace)
    eventually(lambda: restart_count(runs(parent, "removed", namespace)()) == 1, "what is back runs again")
    eventually(lambda: phase(parent, "once", namespace) == "Failed", "what may run once is not run again")
    assert parent.get(PODS, "once", namespace)["status"]["reason"] == words.MEMBER_POD_LOST
    assert alpha.find(PODS, "once", namespace) is None
    after = uids(alpha, namespace)
    assert (after["stays"], after["changed"]) == (before["stays"], before["changed"]), "what runs goes on"
    assert "server went back in time" in provider.log
    parent.create(PODS, bare("new"), namespace)
    wait_until_running(parent, "new", namespace)


def test_after_a_restore_of_a_member_it_is_brought_up_to_date_again(
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

    eventually(lambda: image(alpha, "changed", namespace).endswith(":2"), "the change is made again", 60)
    for name in ("removed", "ending"):
        eventually(lambda it=name: ends(alpha, it, namespace), f"{name} is deleted again")  # type: ignore[misc]
        alpha.delete(PODS, name, namespace, grace_seconds=0)
        wait_until_gone(parent, name, namespace)
    start_idle(alpha, "lost", namespace)
    eventually(lambda: restart_count(runs(parent, "lost", namespace)()) == 1, "what the backup lacks is made again")
    assert parent.get(PODS, "lost", namespace)["metadata"]["uid"] == lost
    after = uids(alpha, namespace)
    assert (after["stays"], after["changed"]) == (before["stays"], before["changed"]), "what runs goes on"
    assert "server went back in time" in provider.log


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


def ends(cluster: Cluster, name: str, namespace: str) -> bool:
    """Whether it is on its way out; its kubelet is the test."""
    found = cluster.find(PODS, name, namespace)
    assert found, f"no pod {name}"
    return "deletionTimestamp" in found["metadata"]


def uids(cluster: Cluster, namespace: str) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.list(PODS, namespace)}
