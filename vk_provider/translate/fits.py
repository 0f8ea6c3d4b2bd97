"""Whether a node may take a pod, as the scheduler's filters decide it, apart from free resources and other pods.

(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from vk_provider.kube.objects import Node, Pod, fields, node_conditions
from vk_provider.translate.selectors import node_affinity_matches
from vk_provider.translate.tolerations import tolerates

_REPELS: Final = frozenset({"NoSchedule", "NoExecute"})


class _Taint(msgspec.Struct):
    key: str
    value: str = ""
    effect: str = ""

    def __str__(self) -> str:
        return f"{self.key}={self.value}:{self.effect}" if self.value else f"{self.key}:{self.effect}"


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[_Taint] | None = None


_spec = msgspec.json.Decoder(_NodeSpec)


def obstacle(pod: Pod, node: Node) -> str:
    """Why the node may not take the pod; empty if it may."""
    if not node_affinity_matches(pod, [node.metadata]):
        return "the nodeSelector or required node affinity of the pod excludes it"
    spec, ready = _spec.decode(node.spec), node_conditions(node).get("Ready")
    tolerations: Sequence[Mapping[str, Any]] = fields(pod.spec).get("tolerations") or ()
    for taint in spec.taints or ():
        if taint.effect in _REPELS and not any(tolerates(t, taint.key, taint.value, taint.effect) for t in tolerations):
            return f"the pod does not tolerate its taint {taint}"
    if spec.unschedulable:
        return "it is cordoned"
    return "" if ready is not None and ready.status == "True" else "it is not Ready"
