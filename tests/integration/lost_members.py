"""Thresholds, waits and queries for tests in which a member is lost and returns."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from tests import members
from tests.cluster import Cluster, Json
from tests.link import Link
from tests.waiting import eventually
from tests.workloads import (
    deployment,
)
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import NODES, PODS, Resource

STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
# Long enough for a busy machine, and short enough for a test.
HEALTH: Final = {"probeSeconds": 1, "lostAfterSeconds": 5, "returnAfterSeconds": 2, "secondLookSeconds": 4}
PATIENCE: Final = 90.0
NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"


def kubeconfig_over(link: Link) -> str:
    """The kubeconfig of the provider's account in a member, with the URL of the link."""
    return json.dumps(link.through(json.loads(members.kubeconfig(link.cluster))))


def rather_on(member: str, manifest: Json) -> Json:
    """The manifest of a workload with pods that prefer a member and are evicted as soon as it is lost."""
    spec = manifest["spec"]["template"]["spec"]
    spec.pop("nodeSelector", None)
    term = {"matchExpressions": [{"key": wellknown.CLUSTER_LABEL, "operator": "In", "values": [member]}]}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    spec |= {"affinity": {"nodeAffinity": preferred}, "tolerations": tolerating(0)}
    return manifest


def stateful_set(name: str) -> Json:
    manifest = deployment(name, 1)
    manifest["spec"]["serviceName"] = name
    return manifest


def tolerating(seconds: int) -> list[Json]:
    common = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
    return [{"key": key, **common} for key in (NOT_READY, UNREACHABLE)]


def seconds_of(pod: Json) -> dict[str, int | None]:
    """The tolerationSeconds of its tolerations for not-ready and unreachable nodes. None: no limit."""
    return {
        toleration["key"]: toleration.get("tolerationSeconds")
        for toleration in pod["spec"]["tolerations"]
        if toleration.get("key") in (NOT_READY, UNREACHABLE)
    }


def condition(parent: Cluster, name: str, type: str, status: str) -> Json:
    """The condition of a MemberCluster, once it has that status."""
    conditions = parent.get(MEMBER_CLUSTERS, name).get("status", {}).get("conditions", [])
    found: Json = next((each for each in conditions if each["type"] == type), {})
    assert found.get("status") == status, conditions
    return found


def reachable(parent: Cluster, name: str) -> Json:
    conditions = parent.get(MEMBER_CLUSTERS, name).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == wellknown.REACHABLE), {})


def wait_until(parent: Cluster, name: str, reason: str) -> None:
    """Waits until the condition Reachable of the member has this reason."""

    def reached() -> bool:
        found = reachable(parent, name)
        assert found.get("reason") == reason, found
        return True

    eventually(reached, f"member {name} is {reason}", PATIENCE)


def node_ready(parent: Cluster, name: str) -> Json:
    return next(each for each in parent.get(NODES, name)["status"]["conditions"] if each["type"] == "Ready")


def taints(parent: Cluster, name: str) -> set[str]:
    return {taint["key"] for taint in parent.get(NODES, name)["spec"].get("taints", [])}


def wait_until_clean(parent: Cluster, name: str) -> None:
    """Waits until no NoExecute taint is left. Kubernetes removes it some seconds after the node is Ready."""
    eventually(
        lambda: not taints(parent, name) & {NOT_READY, UNREACHABLE}, f"node {name} has no NoExecute taint", PATIENCE
    )


def pod_ready(pod: Json) -> tuple[str, str]:
    found = next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    return found["status"], found.get("reason", "")


def ready_again(pod: Json) -> Json:
    assert pod_ready(pod)[0] == "True", pod["status"]["conditions"]
    return pod


def returned(parent: Cluster, member: Cluster, namespace: str) -> Callable[[], set[str]]:
    """A probe: the names of the pods in the member that are not being deleted, once its node is Ready."""

    def probe() -> set[str]:
        found = node_ready(parent, member.name)
        assert found["status"] == "True", found
        return {
            pod["metadata"]["name"]
            for pod in member.list(PODS, namespace)
            if "deletionTimestamp" not in pod["metadata"]
        }

    return probe


def deleted(cluster: Cluster, name: str, namespace: str) -> bool:
    found = cluster.find(PODS, name, namespace)
    return found is None or "deletionTimestamp" in found["metadata"]


def renewed(parent: Cluster, node: str, times: int, since: int | None = None) -> None:
    """Waits until the Lease is renewed `times` times: once per probe, while a member is suspect."""
    position = parent.audit_position() if since is None else since

    def often() -> bool:
        asked = [r for r in parent.requests(position) if (r.verb, r.resource, r.name) == ("patch", "leases", node)]
        return len(asked) >= times

    eventually(often, "the lease is renewed", PATIENCE)


def port(parent: Cluster, node: str) -> int:
    endpoint = parent.get(NODES, node)["status"].get("daemonEndpoints", {}).get("kubeletEndpoint", {})
    return int(endpoint.get("Port", 0))
