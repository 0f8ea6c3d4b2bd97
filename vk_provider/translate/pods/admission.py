"""Admission of a pod to a virtual node, as by a kubelet: host ports, and the labels of the node.

The scheduler checks both for the pods that it binds. A kubelet checks them also for pods that are bound without it.
`decide.needs_admission` is a cheap check whether a pod needs them.
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod, pod_phase
from vk_provider.translate.pods.decide import Fail
from vk_provider.translate.references import host_ports
from vk_provider.translate.selectors import node_affinity_matches

_REJECTED: Final = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
_EVERY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})


class _Affinity(msgspec.Struct, rename="camel"):
    node_affinity: dict[str, Any] | None = None


class _Spec(msgspec.Struct, rename="camel"):
    node_selector: dict[str, str] | None = None
    affinity: _Affinity | None = None


_spec = msgspec.json.Decoder(_Spec)


def host_port_clash(pod: Pod, others: Iterable[Pod]) -> Fail | None:
    """Why the pod is not admitted because of its host ports; None if it is.

    `others`: the pods of the node. Pods that were admitted before take precedence, then older ones. Timestamps have
    whole seconds; between pods of the same second the UID decides. Pods that have ended need no port.
    """
    wanted = host_ports(pod)
    if not wanted:
        return None
    for other in others:
        if not (ports := host_ports(other)):
            continue  # nearly all of them, and found without decoding anything
        phase = pod_phase(other)
        first = _age(other) < _age(pod) or (other is not pod and phase.has(wellknown.CREATED_CONDITION))
        if first and not phase.ended:
            for port in ports:
                if any(_clash(port, mine) for mine in wanted):
                    number = f"{port['hostPort']}/{port.get('protocol', 'TCP')}"
                    message = f"host port {number} is taken by pod {other.metadata.key}"
                    return Fail("NodePorts", message, rejected=True)
    return None


def is_unchecked(pod: Pod) -> bool:
    """Whether the pod selects nodes, and no scheduler has checked that it got one of them."""
    if pod_phase(pod).has("PodScheduled"):
        return False
    spec = _spec.decode(pod.spec)
    return bool(spec.node_selector or (spec.affinity and spec.affinity.node_affinity))


def misplaced(pod: Pod, node: Metadata) -> Fail | None:
    """Why the pod is not admitted to the node, with the message of a kubelet; None if it is."""
    return None if node_affinity_matches(pod, [node]) else Fail("NodeAffinity", _REJECTED, rejected=True)


def _clash(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether one node cannot offer both: the same port of the same address, or of all addresses."""
    address, other_address = one.get("hostIP", ""), other.get("hostIP", "")
    return (one["hostPort"], one.get("protocol", "TCP")) == (other["hostPort"], other.get("protocol", "TCP")) and (
        address == other_address or not _EVERY_ADDRESS.isdisjoint((address, other_address))
    )


def _age(pod: Pod) -> tuple[str, str]:
    return pod.metadata.creation_timestamp or "", pod.metadata.uid
