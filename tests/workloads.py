"""Pods and Deployments for virtual node `alpha`, and queries of their state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.cluster import DEPLOYMENTS, STRATEGIC, Cluster, Json
from tests.waiting import PATIENCE, eventually
from vk_provider.api import wellknown
from vk_provider.kube.resources import PODS

IDLE: Final = "example.com/idle"  # a resource that only the idle node has
IMAGE: Final = "registry.example/web:1"


def pod(name: str, *, node: str = "alpha", **spec: Any) -> Json:
    """The manifest of a pod that is bound to the virtual node without a scheduler."""
    container = {"name": "web", "image": IMAGE}
    body = {"nodeName": node, "containers": [container], "terminationGracePeriodSeconds": 5} | spec
    return {"metadata": {"name": name}, "spec": {key: value for key, value in body.items() if value is not None}}


def bare(name: str, **spec: Any) -> Json:
    """The manifest of a pod without a service account token, for tests that do not need dependents."""
    return pod(name, automountServiceAccountToken=False, **spec)


def with_volumes(name: str, **sources: Any) -> Json:
    """A bare pod with a volume for each source."""
    volumes = [{"name": f"v{number}", source: value} for number, (source, value) in enumerate(sources.items())]
    return bare(name, volumes=volumes)


def idle(name: str, **spec: Any) -> Json:
    """A bare pod that the member's scheduler assigns to the `idle_node`, where only the test acts as the kubelet."""
    resources = {"requests": {IDLE: "1"}, "limits": {IDLE: "1"}}
    manifest = bare(name, **spec)
    manifest["spec"]["containers"][0] |= {"resources": resources}
    return manifest


def deployment(name: str, replicas: int, *, image: str = IMAGE) -> Json:
    """The manifest of a Deployment for virtual node `alpha`."""
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "nodeSelector": {wellknown.CLUSTER_LABEL: "alpha"},
            "automountServiceAccountToken": False,
            "containers": [{"name": "web", "image": image, "resources": {"requests": {"cpu": "1m"}}}],
        },
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": template}
    return {"metadata": {"name": name}, "spec": spec}


def phase(cluster: Cluster, name: str, namespace: str) -> str:
    found = cluster.find(PODS, name, namespace)
    return str(found["status"].get("phase", "")) if found else "absent"


def ends(cluster: Cluster, name: str, namespace: str) -> bool:
    """Whether the pod is being deleted. The test is its kubelet."""
    found = cluster.find(PODS, name, namespace)
    assert found, f"no pod {name}"
    return "deletionTimestamp" in found["metadata"]


def runs(cluster: Cluster, name: str, namespace: str) -> Callable[[], Json]:
    """A probe for `eventually`: the pod, once it is Running and not being deleted."""

    def probe() -> Json:
        found = cluster.find(PODS, name, namespace)
        assert found, f"no pod {namespace}/{name}"
        assert found["status"].get("phase") == "Running", found["status"]
        assert "deletionTimestamp" not in found["metadata"], "deleted"
        return found

    return probe


def wait_until_running(cluster: Cluster, name: str, namespace: str, seconds: float = PATIENCE) -> Json:
    return eventually(runs(cluster, name, namespace), f"pod {name} runs in {cluster.name}", seconds)


def wait_until_gone(cluster: Cluster, name: str, namespace: str, seconds: float = PATIENCE) -> None:
    eventually(lambda: cluster.find(PODS, name, namespace) is None, f"pod {name} is deleted in {cluster.name}", seconds)


def running_pods(cluster: Cluster, namespace: str) -> dict[str, Json]:
    """The running pods by name."""
    found = cluster.list(PODS, namespace)
    return {
        item["metadata"]["name"]: item
        for item in found
        if item["status"].get("phase") == "Running" and "deletionTimestamp" not in item["metadata"]
    }


def restart_count(found: Json) -> int:
    return int(found["status"]["containerStatuses"][0]["restartCount"])


def waiting_reason(found: Json) -> str:
    """The waiting reason of the first container. Empty if it does not wait."""
    statuses = found["status"].get("containerStatuses") or [{}]
    return str(statuses[0].get("state", {}).get("waiting", {}).get("reason", ""))


def start_idle(cluster: Cluster, name: str, namespace: str, *, seconds: float = PATIENCE, **more: Any) -> Json:
    """Acts as the kubelet of the idle node: sets the pod Running. `more` are further fields of its status."""

    def bound() -> Json:
        found = cluster.find(PODS, name, namespace)
        assert found, f"no pod {namespace}/{name}"
        assert found["spec"].get("nodeName"), "not bound"
        assert "deletionTimestamp" not in found["metadata"], "an earlier pod"
        return found

    eventually(bound, f"pod {name} is on a node of {cluster.name}", seconds)
    state = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
    container = {"name": "web", "image": IMAGE, "imageID": "", "ready": True, "restartCount": 0, "state": state}
    conditions = [{"type": kind, "status": "True"} for kind in ("Initialized", "ContainersReady", "Ready")]
    status = {"phase": "Running", "conditions": conditions, "containerStatuses": [container]}
    return set_status(cluster, name, namespace, **status | more)


def set_status(cluster: Cluster, name: str, namespace: str, **status: Any) -> Json:
    return cluster.patch(PODS, name, {"status": status}, namespace, subresource="status", content_type=STRATEGIC)


def scale(cluster: Cluster, name: str, namespace: str, replicas: int) -> None:
    cluster.patch(DEPLOYMENTS, name, {"spec": {"replicas": replicas}}, namespace)
