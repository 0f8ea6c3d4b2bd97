"""Pods that somebody bound to a virtual node past the scheduler: a kubelet admits them by its node's labels.

(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename)
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from vk_provider.kube.objects import Metadata, Pod, pod_phase
from vk_provider.translate.nodes.hold import could_run
from vk_provider.translate.pods.decide import Fail

_REJECTED: Final = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"


class _Affinity(msgspec.Struct, rename="camel"):
    node_affinity: dict[str, Any] | None = None


class _Spec(msgspec.Struct, rename="camel"):
    node_selector: dict[str, str] = {}
    affinity: _Affinity | None = None


_spec = msgspec.json.Decoder(_Spec)


def is_unchecked(pod: Pod) -> bool:
    """Whether the pod asks for a kind of node, and no scheduler has looked whether it got one."""
    if pod_phase(pod).has("PodScheduled"):
        return False
    spec = _spec.decode(pod.spec)
    return bool(spec.node_selector or (spec.affinity and spec.affinity.node_affinity))


def misplaced(pod: Pod, node: Metadata) -> Fail | None:
    """Why the pod is not admitted on the node, in a kubelet's words; None where it is."""
    return None if could_run(pod, [node]) else Fail("NodeAffinity", _REJECTED, rejected=True)
