"""The provider is killed and restarted: pods keep running, and no change is applied twice."""

from __future__ import annotations

from collections import Counter

from tests.cluster import DEPLOYMENTS, Cluster, Json, Request
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    deployment,
    idle,
    restart_count,
    running_pods,
    runs,
    scale,
    start_idle,
    wait_until_gone,
    wait_until_running,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import PODS

READS = ("get", "list", "watch")


def test_a_provider_killed_during_a_rollout_completes_it_without_duplicates(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    position = alpha.audit_position()
    parent.create(DEPLOYMENTS, deployment("web", 60), namespace)
    eventually(lambda: len(running_pods(alpha, namespace)) >= 10, "some pods run")
    kill_and_start(provider)
    eventually(lambda: len(running_pods(parent, namespace)) == 60, "all pods run", 60)
    change = {"spec": {"template": deployment("web", 0, image="registry.example/web:2")["spec"]["template"]}}
    parent.patch(DEPLOYMENTS, "web", change, namespace)
    eventually(lambda: count_image(parent, namespace, ":2") >= 10, "the new version is rolled out")
    kill_and_start(provider)
    eventually(lambda: rolled_out(parent, namespace), "the rollout ends", 90)
    eventually(lambda: pairs(alpha, namespace) == parent_uids(parent, namespace), "the member has the same pods")
    made = Counter(
        request.name
        for request in alpha.requests(position)
        if (request.verb, request.resource, request.subresource) == ("create", "pods", "")
        and (request.namespace, request.status) == (namespace, 201)
    )
    assert [name for name, count in made.items() if count > 1] == []


def test_changes_during_an_outage_of_the_provider_are_applied_after_its_start(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str, idle_node: Json
) -> None:
    for name in ("deleted", "forced", "lost", "once", "stays"):
        manifest = idle(name, restartPolicy="Never" if name == "once" else "Always")
        parent.create(PODS, manifest, namespace)
        start_idle(alpha, name, namespace)
        wait_until_running(parent, name, namespace)
    uids = versions(alpha, namespace)
    provider.kill()
    parent.delete(PODS, "deleted", namespace, grace_seconds=1)
    parent.delete(PODS, "forced", namespace, grace_seconds=0)
    alpha.delete(PODS, "lost", namespace, grace_seconds=0)
    alpha.delete(PODS, "once", namespace, grace_seconds=0)
    parent.create(PODS, bare("new"), namespace)
    provider.start()
    wait_until_running(parent, "new", namespace)
    for name in ("deleted", "forced"):
        eventually(lambda it=name: deleted(alpha, it, namespace), f"{name} ends in the member")  # type: ignore[misc]
        alpha.delete(PODS, name, namespace, grace_seconds=0)
    wait_until_gone(parent, "deleted", namespace)
    start_idle(alpha, "lost", namespace)
    eventually(lambda: restart_count(runs(parent, "lost", namespace)()) == 1, "the lost pod runs again")
    eventually(
        lambda: parent.get(PODS, "once", namespace)["status"]["phase"] == "Failed", "the pod `once` is not recreated"
    )
    assert versions(alpha, namespace)["stays"] == uids["stays"]
    assert alpha.find(PODS, "once", namespace) is None


def test_sigterm_stops_the_provider_gracefully_and_keeps_the_node(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    before = versions(parent, namespace), versions(alpha, namespace)
    assert provider.stop() == 0
    assert provider.log.rstrip().endswith("message=stopped")
    assert (versions(parent, namespace), versions(alpha, namespace)) == before
    assert parent.call("GET", "/api/v1/nodes/alpha")["metadata"]["name"] == "alpha"


def test_scaling_to_zero_during_an_outage_of_the_provider_empties_the_member(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    parent.create(DEPLOYMENTS, deployment("web", 20), namespace)
    eventually(lambda: len(running_pods(parent, namespace)) == 20, "20 pods run")
    provider.kill()
    scale(parent, "web", namespace, 0)
    eventually(
        lambda: all("deletionTimestamp" in pod["metadata"] for pod in parent.list(PODS, namespace)), "all are deleted"
    )
    provider.start()
    eventually(lambda: parent.list(PODS, namespace) == [], "the parent has no pods", 60)
    assert alpha.list(PODS, namespace) == []


def test_a_restarted_provider_adopts_500_pods_without_writing_any(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    parent.create(DEPLOYMENTS, deployment("web", 500), namespace)
    eventually(lambda: len(running_pods(parent, namespace)) == 500, "500 pods run", 120)
    before = versions(parent, namespace), versions(alpha, namespace)
    provider.kill()
    positions = parent.audit_position(), alpha.audit_position()
    provider.start()
    eventually(lambda: renewed(parent, positions[0]), "the virtual node is served again")
    settle(parent, namespace)
    assert touched(parent, positions[0], namespace) == []
    assert touched(alpha, positions[1], namespace) == []
    assert (versions(parent, namespace), versions(alpha, namespace)) == before


def kill_and_start(provider: Provider) -> None:
    provider.kill()
    provider.start()


def renewed(parent: Cluster, since: int) -> bool:
    """Whether a lease was renewed since then. The renewal starts together with the work on pods."""
    return any(
        (request.verb, request.resource, request.name) == ("patch", "leases", "alpha")
        for request in parent.requests(since)
    )


def settle(parent: Cluster, namespace: str) -> None:
    """Returns when the provider has processed its queue: it is FIFO, so a new pod runs after all others."""
    parent.create(PODS, bare("sentinel"), namespace)
    wait_until_running(parent, "sentinel", namespace, 60)
    parent.delete(PODS, "sentinel", namespace)
    wait_until_gone(parent, "sentinel", namespace)


def versions(cluster: Cluster, namespace: str) -> dict[str, tuple[str, str]]:
    """UID and resourceVersion of every pod: a pod with the same values has not been written."""
    return {
        pod["metadata"]["name"]: (pod["metadata"]["uid"], pod["metadata"]["resourceVersion"])
        for pod in cluster.list(PODS, namespace)
    }


def touched(cluster: Cluster, since: int, namespace: str) -> list[Request]:
    """The provider's writes to pods since this position."""
    return [
        request
        for request in cluster.requests(since)
        if request.agent == "vk-provider" and request.resource == "pods" and request.namespace == namespace
        if request.verb not in READS and request.name not in ("", "sentinel")
    ]


def pairs(alpha: Cluster, namespace: str) -> dict[str, str]:
    found = alpha.list(PODS, namespace)
    return {pod["metadata"]["name"]: pod["metadata"]["annotations"][wellknown.PARENT_UID] for pod in found}


def parent_uids(parent: Cluster, namespace: str) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in parent.list(PODS, namespace)}


def count_image(cluster: Cluster, namespace: str, ending: str) -> int:
    return sum(
        pod["spec"]["containers"][0]["image"].endswith(ending) for pod in running_pods(cluster, namespace).values()
    )


def rolled_out(parent: Cluster, namespace: str) -> bool:
    pods = parent.list(PODS, namespace)
    return len(pods) == 60 and count_image(parent, namespace, ":2") == 60


def deleted(cluster: Cluster, name: str, namespace: str) -> bool:
    found = cluster.find(PODS, name, namespace)
    return found is None or "deletionTimestamp" in found["metadata"]
