"""Joins clusters as members, like `vk-provider join`, and reads their status."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from tests.cluster import BINDINGS, ApiFailure, Cluster, Json
from tests.waiting import eventually
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import (
    CONFIG_MAPS,
    ENDPOINT_SLICES,
    EVENTS,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    SECRETS,
    SERVICE_ACCOUNTS,
    SERVICES,
)

_MANIFESTS: Final = Path(__file__).resolve().parents[1] / "manifests"
SYSTEM: Final = wellknown.SYSTEM_NAMESPACE


def install(parent: Cluster) -> None:
    """Creates the CRD and the namespace for kubeconfigs."""
    parent.apply(yaml.safe_load((_MANIFESTS / "crds" / "memberclusters.yaml").read_text()))
    parent.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    eventually(lambda: parent.list(MEMBER_CLUSTERS) == [], "the parent knows MemberClusters")


def grant(member: Cluster) -> None:
    """Grants exactly the permissions in manifests/member."""
    for manifest in yaml.safe_load_all((_MANIFESTS / "member" / "rbac.yaml").read_text()):
        member.apply(manifest)


def bind(member: Cluster, account: str) -> None:
    """Grants the same permissions to another service account."""
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "vk-provider-member"}
    subject = {"kind": "ServiceAccount", "name": account, "namespace": SYSTEM}
    member.create(BINDINGS, {"metadata": {"name": account}, "roleRef": reference, "subjects": [subject]})


def kubeconfig(
    member: Cluster, *, account: str = "vk-provider", server: str = "", token: str = "", ca: str = ""
) -> str:
    """A kubeconfig for a service account of the member; with `token`, with that token."""
    user = {"token": token or _token(member, account)}
    cluster = {"server": server or member.server, "certificate-authority-data": ca or member.ca_data}
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": cluster}],
            "users": [{"name": "it", "user": user}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        }
    )


def _token(member: Cluster, account: str) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    token: str = member.call("POST", SERVICE_ACCOUNTS.path(account, SYSTEM, "token"), body)["status"]["token"]
    return token


def set_kubeconfig(parent: Cluster, name: str, content: str) -> None:
    """Replaces the kubeconfig in the Secret of a member."""
    parent.patch(SECRETS, f"{name}-kubeconfig", {"data": {"kubeconfig": _encoded(content)}}, SYSTEM)


def set_health(parent: Cluster, name: str, thresholds: Json | None) -> None:
    """Sets the thresholds for a member's health. None restores the defaults."""
    parent.patch(MEMBER_CLUSTERS, name, {"spec": {"health": thresholds}})


def join(parent: Cluster, name: str, content: str, **spec: Any) -> None:
    """Creates the Secret and the MemberCluster. `spec` holds further fields of its spec."""
    reference = {"name": f"{name}-kubeconfig", "namespace": SYSTEM}
    metadata = {"name": reference["name"], "labels": {wellknown.CLUSTER_LABEL: name}}
    parent.create(SECRETS, {"metadata": metadata, "data": {"kubeconfig": _encoded(content)}}, SYSTEM)
    parent.create(MEMBER_CLUSTERS, {"metadata": {"name": name}, "spec": {"kubeconfigSecretRef": reference, **spec}})


def ready_condition(parent: Cluster, name: str) -> Json:
    """The Ready condition of a MemberCluster. Empty if it was never set."""
    conditions = parent.get(MEMBER_CLUSTERS, name).get("status", {}).get("conditions", [])
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


def is_served(parent: Cluster, name: str) -> bool:
    return parent.find(MEMBER_CLUSTERS, name) is not None and ready_condition(parent, name).get("status") == "True"


def wait_until_served(parent: Cluster, name: str, seconds: float = 30.0) -> None:
    def served() -> bool:
        condition = ready_condition(parent, name)
        assert condition.get("status") == "True", condition
        generation: int = parent.get(MEMBER_CLUSTERS, name)["metadata"]["generation"]
        assert condition["observedGeneration"] == generation, condition
        conditions = parent.get(NODES, name)["status"].get("conditions", [])
        assert any(c["type"] == "Ready" and c["status"] == "True" for c in conditions), conditions
        return True

    eventually(served, f"member {name} is served", seconds)


def wait_until_refused(parent: Cluster, name: str, reason: str) -> str:
    """The message of its Ready condition, once that is False with this reason and an Event has the reason, too."""

    def refused() -> str:
        condition = ready_condition(parent, name)
        assert (condition.get("status"), condition.get("reason")) == ("False", reason), condition
        return str(condition["message"])

    message = eventually(refused, f"member {name} is not served: {reason}")
    eventually(lambda: reason in event_reasons(parent, name), f"an Event about member {name} has the reason {reason}")
    return message


def event_reasons(cluster: Cluster, name: str, namespace: str = "default") -> set[str]:
    """The reasons of all Events about objects with this name."""
    found = cluster.list(EVENTS, namespace, fields=f"involvedObject.name={name}")
    return {event["reason"] for event in found}


def unjoin(parent: Cluster, name: str, seconds: float = 60.0) -> None:
    """Deletes the MemberCluster, and waits until the provider has removed its finalizer."""
    parent.delete(MEMBER_CLUSTERS, name)
    eventually(lambda: parent.find(MEMBER_CLUSTERS, name) is None, f"member {name} has left", seconds)
    parent.delete(SECRETS, f"{name}-kubeconfig", SYSTEM)


def discard(parent: Cluster, name: str) -> None:
    """Deletes a MemberCluster without its finalizer, at the end of a test."""
    parent.delete(MEMBER_CLUSTERS, name)
    try:
        parent.patch(MEMBER_CLUSTERS, name, {"metadata": {"finalizers": None}})
    except ApiFailure as error:
        if error.status != 404:
            raise
    parent.delete(SECRETS, f"{name}-kubeconfig", SYSTEM)


def remains(member: Cluster, name: str) -> set[str]:
    """The objects of virtual node `name` that still exist in a member. Its namespaces may contain objects of others."""
    found = set()
    for resource in (PODS, CONFIG_MAPS, SECRETS, SERVICES, ENDPOINT_SLICES, NETWORK_POLICIES):
        items = member.list(resource, labels=f"{wellknown.NODE_LABEL}={name}")
        found |= {f"{resource.plural} {item['metadata']['namespace']}/{item['metadata']['name']}" for item in items}
    return found


@contextmanager
def cordoned(parent: Cluster, node: str) -> Iterator[None]:
    """No new pods are scheduled to the node within the block."""
    parent.patch(NODES, node, {"spec": {"unschedulable": True}})
    try:
        yield
    finally:
        parent.patch(NODES, node, {"spec": {"unschedulable": None}})


def namespace_gone(cluster: Cluster, name: str) -> bool:
    return cluster.find(NAMESPACES, name) is None


def _encoded(content: str) -> str:
    return base64.b64encode(content.encode()).decode()
