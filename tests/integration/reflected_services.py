"""Services and the pods that they select, and queries for their reflections in a member."""

from __future__ import annotations

from typing import Any

from tests.cluster import Cluster, Json
from tests.waiting import eventually
from tests.workloads import bare, wait_until_running
from vk_provider.api import wellknown
from vk_provider.kube.resources import ENDPOINT_SLICES, PODS, SERVICES

HTTP = {"name": "http", "port": 80, "targetPort": 8080}


def service(name: str, **spec: Any) -> Json:
    """The manifest of a Service that selects the pods of `web`."""
    return {"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [HTTP], **spec}}


def web(name: str, node: str = "alpha", **spec: Any) -> Json:
    """A bare pod that `service` selects."""
    manifest = bare(name, node=node, **spec)
    manifest["metadata"]["labels"] = {"app": "web"}
    return manifest


def start(cluster: Cluster, manifest: Json, namespace: str) -> str:
    """Creates a pod in the parent and waits until it runs. Returns its address."""
    cluster.create(PODS, manifest, namespace)
    found = wait_until_running(cluster, manifest["metadata"]["name"], namespace)
    return str(found["status"]["podIP"])


def slices(cluster: Cluster, name: str, namespace: str) -> list[Json]:
    return cluster.list(ENDPOINT_SLICES, namespace, labels=f"kubernetes.io/service-name={name}")


def addresses(cluster: Cluster, name: str, namespace: str) -> set[str]:
    """The addresses of all endpoints of a Service."""
    return {
        address
        for found in slices(cluster, name, namespace)
        for endpoint in found["endpoints"] or ()
        for address in endpoint["addresses"]
    }


def until_listed(cluster: Cluster, name: str, namespace: str, wanted: set[str]) -> None:
    def listed() -> bool:
        found = addresses(cluster, name, namespace)
        assert found == wanted, f"{found}, not {wanted}"
        return True

    eventually(listed, f"service {name} lists {len(wanted)} endpoints in {cluster.name}", 60)


def until_there(cluster: Cluster, name: str, namespace: str, seconds: float = 30.0) -> Json:
    what = f"service {name} exists in {cluster.name}"
    found = eventually(lambda: cluster.find(SERVICES, name, namespace), what, seconds)
    assert found
    return found


def until_away(cluster: Cluster, name: str, namespace: str) -> None:
    """Waits until the Service and its EndpointSlices are deleted."""
    eventually(
        lambda: cluster.find(SERVICES, name, namespace) is None and slices(cluster, name, namespace) == [],
        f"service {name} is deleted in {cluster.name}",
        60,
    )


def is_ours(found: Json) -> bool:
    return wellknown.PARENT_LABEL in found.get("metadata", {}).get("labels", {})
