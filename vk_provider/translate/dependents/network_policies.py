"""NetworkPolicies of the parent: which pods they select. They are not enforced in members."""

from __future__ import annotations

from typing import Any

import msgspec

from vk_provider.kube.objects import Metadata
from vk_provider.translate.selectors import selects


class _Spec(msgspec.Struct, rename="camel", gc=False):
    pod_selector: dict[str, Any] = {}


class NetworkPolicy(msgspec.Struct, gc=False):
    """The cached part of a NetworkPolicy."""

    metadata: Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)

    def selects(self, pod: Metadata) -> bool:
        """Whether the policy is about this pod."""
        return self.metadata.namespace == pod.namespace and selects(self.spec.pod_selector, pod.labels)


def not_enforced(node: str) -> str:
    """The message of the Event on a policy that selects a pod of a virtual node."""
    return (
        f"the policy selects pods on virtual node {node}, where it has no effect: NetworkPolicies are not copied to "
        "members; create one in the member, or keep these pods off virtual nodes"
    )
