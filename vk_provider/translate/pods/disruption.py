"""Disruptions: ends of a member pod that the member decides, and not the pod (a drain, taint eviction, preemption).

A disruption is overdue if the parent should not wait for its end: the member has given the pod's node or place away,
or its kubelet has not stopped the pod in time. Then the parent pod is evicted, as from a node that is dead, and its
controller replaces it. A node of the member that is gone or not Ready needs no look of its own: the controllers of the
member delete the pods there, once their tolerations have ended.
(https://kubernetes.io/docs/concepts/workloads/pods/disruptions/#pod-disruption-conditions)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.kube.objects import Condition, Metadata, OwnedMetadata, Pod, pod_phase

DISRUPTION_TARGET: Final = "DisruptionTarget"
# Seconds from the end of a grace period on, in which a kubelet removes a pod: volumes are unmounted in this time.
_REMOVAL: Final = 60.0
# Reasons with which the member has given away the node of the pod, or its place on that node.
_GIVEN_AWAY: Final = frozenset({"DeletionByTaintManager", "PreemptionByScheduler"})
_DELETED: Final = "the pod was deleted in the member cluster"


@dataclass(frozen=True)
class Disruption:
    """What the condition DisruptionTarget says."""

    reason: str
    message: str


def given_away(conditions: Iterable[Condition]) -> Disruption | None:
    """The disruption with which the member has given away the node or the place of a pod; None if it has not."""
    for condition in conditions:
        if condition.type == DISRUPTION_TARGET and condition.status == "True" and condition.reason in _GIVEN_AWAY:
            return Disruption(condition.reason, condition.message)
    return None


def overdue(member: Pod, now: datetime) -> Disruption | None:
    """The disruption of a member pod, if it is overdue. `now` is the time of the member's clock.

    Only for a pod that neither the provider nor the parent deletes.
    """
    left = seconds_left(member, now)
    if left is None:
        return None
    if found := given_away(pod_phase(member).conditions):
        return found
    if left > 0:
        return None
    message = f"{_DELETED}, where it still exists {_REMOVAL:.0f} s after the end of its grace period"
    return Disruption(wellknown.MEMBER_POD_OVERDUE, message)


def seconds_left(member: Pod, now: datetime) -> float | None:
    """Seconds until the deletion of a member pod is overdue; None if it is not being deleted."""
    if member.metadata.deletion_timestamp is None:
        return None
    return _REMOVAL - (now - datetime.fromisoformat(member.metadata.deletion_timestamp)).total_seconds()


def not_evictable(parent: OwnedMetadata) -> str:
    """Why a parent pod must not be evicted; empty if it may be."""
    if parent.annotations.get(wellknown.AT_MOST_ONCE) == "true":
        return f"it has the annotation {wellknown.AT_MOST_ONCE}"
    return "" if parent.controller else "no controller would replace it"


def condition(disruption: Disruption) -> dict[str, Any]:
    """The condition DisruptionTarget, without its transition time."""
    return {
        "type": DISRUPTION_TARGET,
        "status": "True",
        "reason": disruption.reason,
        "message": disruption.message,
    }


def patch(parent: Pod, found: Disruption, *, now: str) -> dict[str, Any] | None:
    """The patch of a parent pod's status that sets the condition; None if it is True already."""
    if pod_phase(parent).has(DISRUPTION_TARGET):
        return None
    conditions = [condition(found) | {"lastTransitionTime": now}]
    return {"metadata": {"uid": parent.metadata.uid}, "status": {"conditions": conditions}}


def of_this_pod(current: Iterable[Mapping[str, Any]], shown: Set[str], member: Metadata) -> list[dict[str, Any]]:
    """The parent pod's own DisruptionTarget, if no condition of the member replaces it (`shown`: their types) and it is
    not that of an earlier member pod. The parent's controllers set it as well, shortly before they delete the pod.
    """
    return [
        dict(found)
        for found in current
        if found["type"] == DISRUPTION_TARGET
        and DISRUPTION_TARGET not in shown
        and (found.get("lastTransitionTime") or "") > (member.creation_timestamp or "")
    ]


def of_end(phase: str, conditions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the conditions of a pod lack that was deleted in the member and has ended with this phase there."""
    if phase != "Failed" or any(found["type"] == DISRUPTION_TARGET for found in conditions):
        return []
    return [condition(Disruption(wellknown.DELETED_IN_MEMBER, _DELETED))]


def of_loss(conditions: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What the conditions of a pod lack whose member pod was lost."""
    if any(found["type"] == DISRUPTION_TARGET and found.get("status") == "True" for found in conditions):
        return []
    return [condition(Disruption(wellknown.MEMBER_POD_LOST, "the pod was removed from the member cluster"))]
