"""Policies for tests of NetworkPolicies in a member, and what the member has of them."""

from __future__ import annotations

from typing import Any, Final

from tests.unit.dependents_world import NAMES, World
from tests.unit.objects_server import Json, ObjectServer
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, Network, NetworkPolicies, SecretRef
from vk_provider.kube.resources import NAMESPACES, NETWORK_POLICIES
from vk_provider.translate.dependents.namespace_labels import member_label

DENY_ALL: Final = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
FROM_TEAM_A: Final = {
    "podSelector": {},
    "policyTypes": ["Ingress"],
    "ingress": [{"from": [{"namespaceSelector": {"matchLabels": {"team": "a"}}}]}],
}
IGNORE: Final = MemberClusterSpec(SecretRef("s", "n"), network=Network(policies=NetworkPolicies.IGNORE))
NOT_ENFORCED: Final = {wellknown.POLICY_NOT_ENFORCED}
OURS: Final = f"deny-all.{NAMES.parent}"
TEAM: Final = member_label("team")


def servers(**labels: str) -> tuple[ObjectServer, ObjectServer]:
    parent, member = ObjectServer(), ObjectServer()
    parent.put(NAMESPACES, "shop", metadata={"labels": labels})
    return parent, member


def deny(parent: ObjectServer, namespace: str = "shop", **spec: Any) -> None:
    parent.put(NETWORK_POLICIES, "deny-all", namespace, spec=DENY_ALL | spec)


def spec_in(member: ObjectServer, namespace: str = "shop") -> Json:
    found = member.find(NETWORK_POLICIES, OURS, namespace)
    assert found is not None
    spec: Json = found["spec"]
    return spec


def labels_in(member: ObjectServer, namespace: str = "shop") -> Json:
    found = member.find(NAMESPACES, namespace)
    assert found is not None
    return {key: value for key, value in found["metadata"]["labels"].items() if "/namespace." in key}


def set_network(running: World, **network: Any) -> None:
    spec = MemberClusterSpec(SecretRef("s", "n"), network=Network(**network))
    running.cluster.set(MemberCluster(running.cluster.value.metadata, spec))
