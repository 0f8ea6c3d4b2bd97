"""Pods for which the member has no place: which of them are evicted, so that the parent's scheduler can choose again.

A pod that its node cannot run is a kubelet's to reject, and its controller makes another one. Here the pod waits for a
while first, because the member may free a place, or get a node. After that it is evicted only if this can help: if
something replaces it, and another node of the parent may take it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from vk_provider.kube.objects import Metadata, Node, OwnerReference, Pod, fields, pod_phase
from vk_provider.translate.fits import obstacle
from vk_provider.translate.references import claims

# Controllers that replace a pod that is deleted, on any node. A DaemonSet replaces it on the same one.
_REPLACES: Final = frozenset({"ReplicaSet", "ReplicationController", "StatefulSet"})


class Job(msgspec.Struct):
    """The part of a Job that tells when it replaces a pod."""

    metadata: Metadata
    spec: Mapping[str, Any] = {}


def unschedulable_since(member: Pod) -> tuple[datetime, str] | None:
    """Since when (by the member's clock) the member's scheduler finds no node, and its message; None: it does."""
    for condition in pod_phase(member).conditions:
        if condition.type == "PodScheduled" and condition.status == "False" and condition.reason == "Unschedulable":
            if condition.last_transition_time:
                return datetime.fromisoformat(condition.last_transition_time), condition.message
    return None


def not_replaced(controller: OwnerReference | None, job: Job | None) -> str:
    """Why nothing would replace an evicted pod on another node; empty if something does. `job`: its Job, if it has one.

    By default, a Job replaces a pod that is being deleted at once, and counts it as failed.
    """
    if controller is None:
        return "no controller would replace it"
    if controller.kind == "Job":
        policy = (job.spec if job else {}).get("podReplacementPolicy")
        return "" if policy == "Failed" else "podReplacementPolicy of its Job is not Failed"
    return "" if controller.kind in _REPLACES else f"a {controller.kind} would not replace it on another node"


def names_claim(parent: Pod) -> bool:
    """Whether the pod names a PersistentVolumeClaim: its data may be where it is."""
    return b'"persistentVolumeClaim"' in bytes(parent.spec) and bool(claims(fields(parent.spec)))


def fits_elsewhere(parent: Pod, node: str, nodes: Iterable[Node]) -> bool:
    """Whether a Ready node other than `node` may take the pod: it is not cordoned, matches the pod's nodeSelector and
    required node affinity, and has no taint that keeps the pod away. Free resources are not considered.
    """
    return any(other.metadata.name != node and not obstacle(parent, other) for other in nodes)


class Rounds:
    """Back-off of the evictions of one controller: in rounds, because its pods become unschedulable together.

    The pods of one round may be evicted within 30 s. The pause before the next round is 5 min, doubling to 1 h; the
    controller is forgotten after two such hours without an eviction. All times are in seconds of the same clock.
    """

    _ROUND: Final = 30.0
    _PAUSE, _CAP = 300.0, 3600.0

    def __init__(self) -> None:
        self._count, self._began = 0, 0.0

    def delay(self, now: float) -> float:
        """Seconds until a pod may be evicted: 0 if it may be now, which counts as an eviction."""
        since = now - self._began
        if self._count and since < self._ROUND:
            return 0.0
        pause = min(self._CAP, self._PAUSE * 2.0 ** (self._count - 1)) if self._count else 0.0
        if since < pause:
            return pause - since
        self._count = 1 if self.is_over(now) else self._count + 1
        self._began = now
        return 0.0

    def is_over(self, now: float) -> bool:
        """Whether nothing of this is needed any more."""
        return not self._count or now - self._began > 2 * self._CAP
