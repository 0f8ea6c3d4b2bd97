"""Clients of the member delete or change member pods, or use the same names."""

from __future__ import annotations

import pytest

from tests.cluster import Cluster, Json
from tests.members import event_reasons
from tests.waiting import eventually
from tests.workloads import (
    bare,
    idle,
    phase,
    pod,
    restart_count,
    runs,
    start_idle,
    wait_until_gone,
    wait_until_running,
    waiting_reason,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES, PODS

pytestmark = pytest.mark.usefixtures("provider")


def test_a_member_pod_that_another_client_deletes_is_recreated_and_counts_as_a_restart(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    uid = parent.create(PODS, idle("web"), namespace)["metadata"]["uid"]
    first = start_idle(alpha, "web", namespace)["metadata"]["uid"]
    wait_until_running(parent, "web", namespace)
    alpha.delete(PODS, "web", namespace, grace_seconds=0)
    eventually(lambda: restart_count(parent.get(PODS, "web", namespace)) == 1, "the parent counts one restart")
    assert start_idle(alpha, "web", namespace)["metadata"]["uid"] != first
    shown = wait_until_running(parent, "web", namespace)
    assert (shown["metadata"]["uid"], restart_count(shown)) == (uid, 1)
    eventually(lambda: "MemberPodRecreated" in event_reasons(parent, "web", namespace), "an Event has the reason")


def test_a_pod_that_must_not_restart_fails_if_another_client_deletes_its_member_pod(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, bare("once", restartPolicy="Never"), namespace)
    wait_until_running(parent, "once", namespace)
    alpha.delete(PODS, "once", namespace)
    eventually(lambda: phase(parent, "once", namespace) == "Failed", "the pod is Failed")
    assert parent.get(PODS, "once", namespace)["status"]["reason"] == wellknown.MEMBER_POD_LOST
    assert alpha.find(PODS, "once", namespace) is None
    eventually(lambda: wellknown.MEMBER_POD_LOST in event_reasons(parent, "once", namespace), "an Event has the reason")
    parent.delete(PODS, "once", namespace)
    wait_until_gone(parent, "once", namespace)


def test_the_second_loss_in_a_row_backs_off_like_a_crashing_container(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("web"), namespace)
    start_idle(alpha, "web", namespace)
    wait_until_running(parent, "web", namespace)
    alpha.delete(PODS, "web", namespace, grace_seconds=0)
    start_idle(alpha, "web", namespace)
    eventually(lambda: restart_count(runs(parent, "web", namespace)()) == 1, "the pod runs again")
    alpha.delete(PODS, "web", namespace, grace_seconds=0)
    eventually(
        lambda: waiting_reason(parent.get(PODS, "web", namespace)) == "CrashLoopBackOff", "the pod is in back-off"
    )
    assert alpha.find(PODS, "web", namespace) is None
    start_idle(alpha, "web", namespace)
    eventually(lambda: restart_count(runs(parent, "web", namespace)()) == 2, "the pod runs again")


def test_the_restart_count_survives_the_deletion_of_a_pod_in_back_off(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    """The last status is that of the back-off, not that of the previous member pod."""

    def lose(count: int) -> None:
        start_idle(alpha, "web", namespace)
        eventually(lambda: restart_count(runs(parent, "web", namespace)()) == count, f"the pod runs, restarts={count}")
        alpha.delete(PODS, "web", namespace, grace_seconds=0)

    before = parent.position(PODS)
    parent.create(PODS, idle("web"), namespace)
    lose(0)
    lose(1)
    eventually(
        lambda: waiting_reason(parent.get(PODS, "web", namespace)) == "CrashLoopBackOff", "the pod is in back-off"
    )
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    shown = [
        version for version in parent.history(PODS, "web", before) if version["metadata"]["namespace"] == namespace
    ]
    counts = [restart_count(version) for version in shown if "containerStatuses" in version["status"]]
    assert counts == sorted(counts)
    assert counts[-1] == 2


def test_a_pod_of_another_client_with_the_same_name_stays_and_the_pod_starts_when_it_is_deleted(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    alpha.create(NAMESPACES, {"metadata": {"name": namespace}})
    foreign = bare("web", node="alpha-1")
    eventually(lambda: alpha.ensure(PODS, foreign, namespace), "the foreign pod exists")
    wait_until_running(alpha, "web", namespace)
    before = alpha.get(PODS, "web", namespace)["metadata"]
    parent.create(PODS, bare("web"), namespace)
    eventually(
        lambda: waiting_reason(parent.get(PODS, "web", namespace)) == wellknown.NAME_CONFLICT,
        "the parent pod has the reason",
    )
    eventually(lambda: wellknown.NAME_CONFLICT in event_reasons(parent, "web", namespace), "an Event has the reason")
    assert alpha.get(PODS, "web", namespace)["metadata"] == before
    alpha.delete(PODS, "web", namespace)
    wait_until_running(parent, "web", namespace)
    assert wellknown.NODE_LABEL in alpha.get(PODS, "web", namespace)["metadata"]["labels"]
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    alpha.delete(NAMESPACES, namespace)


def test_a_pod_with_a_name_conflict_can_be_deleted_and_the_other_pod_stays(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    alpha.create(NAMESPACES, {"metadata": {"name": namespace}})
    foreign = bare("web", node="alpha-1")
    eventually(lambda: alpha.ensure(PODS, foreign, namespace), "the foreign pod exists")
    parent.create(PODS, bare("web"), namespace)
    eventually(
        lambda: waiting_reason(parent.get(PODS, "web", namespace)) == wellknown.NAME_CONFLICT,
        "the parent pod has the reason",
    )
    uid = alpha.get(PODS, "web", namespace)["metadata"]["uid"]
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    assert alpha.get(PODS, "web", namespace)["metadata"]["uid"] == uid
    alpha.delete(NAMESPACES, namespace)


def test_pods_are_recreated_after_their_namespace_is_deleted_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    for name in ("one", "two"):
        parent.create(PODS, pod(name), namespace)
        wait_until_running(parent, name, namespace)
    old = alpha.get(NAMESPACES, namespace)["metadata"]["uid"]
    alpha.delete(NAMESPACES, namespace)

    def back() -> bool:
        found = alpha.find(NAMESPACES, namespace)
        assert found, "no namespace"
        assert found["metadata"]["uid"] != old, "the namespace is still the old one"
        for name in ("one", "two"):
            shown = parent.get(PODS, name, namespace)
            assert phase(alpha, name, namespace) == "Running", f"{name}: {shown['status']}"
            assert shown["status"]["phase"] == "Running", shown["status"]
            assert restart_count(shown) >= 1
        return True

    eventually(back, "namespace and pods are recreated", 60)


def test_a_pod_starts_once_a_terminating_namespace_of_the_member_is_deleted(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, bare("one"), namespace)
    wait_until_running(parent, "one", namespace)
    alpha.delete(NAMESPACES, namespace)
    parent.create(PODS, bare("two"), namespace)
    shown = wait_until_running(parent, "two", namespace, 60)
    assert shown["status"]["podIP"] == alpha.get(PODS, "two", namespace)["status"]["podIP"]


def test_a_member_pod_without_the_providers_labels_is_a_name_conflict(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    uid = alpha.get(PODS, "web", namespace)["metadata"]["uid"]
    labels = {wellknown.NODE_LABEL: None, wellknown.PARENT_LABEL: None}
    alpha.patch(PODS, "web", {"metadata": {"labels": labels}}, namespace)
    eventually(
        lambda: waiting_reason(parent.get(PODS, "web", namespace)) == wellknown.NAME_CONFLICT,
        "the parent pod has the reason",
    )
    assert alpha.get(PODS, "web", namespace)["metadata"]["uid"] == uid
