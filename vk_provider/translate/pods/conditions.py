"""The conditions of a parent pod that are not simply those of its member pod.

`before` is the parent pod's status as it is, `now` the moment that dates what is new.
(https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-conditions)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

Status = dict[str, Any]
Condition = dict[str, Any]

# Those that a kubelet writes False as long as a container is not ready.
_READINESS: Final = ("Ready", "ContainersReady")


def with_gates(conditions: list[Condition], gates: Sequence[str], before: Status, now: str) -> list[Condition]:
    """Ready as a kubelet computes it: the containers' readiness and every gate, and gates live in the parent."""
    if not gates:
        return conditions
    found = {c["type"]: c.get("status") for c in before.get("conditions") or ()}
    closed = [
        f'the status of pod readiness gate "{gate}" is not "True", but {found[gate]}'
        if gate in found
        else f'corresponding condition of pod readiness gate "{gate}" does not exist.'
        for gate in gates
        if found.get(gate) != "True"
    ]
    if not closed:
        # It became ready when the last gate opened, not when the containers did.
        opened = dated("Ready", "True", "", before, now)["lastTransitionTime"]
        return [
            c | {"lastTransitionTime": opened} if c["type"] == "Ready" and c["status"] == "True" else c
            for c in conditions
        ]
    not_ready = dated("Ready", "False", "ReadinessGatesNotReady", before, now) | {"message": ", ".join(closed)}
    return [c | not_ready if c["type"] == "Ready" and c["status"] == "True" else c for c in conditions]


def no_longer_ready(before: Status) -> list[Condition]:
    """Readiness that an earlier member pod left behind, taken back."""
    return [
        {"type": condition["type"], "status": "False", "reason": "ContainersNotReady"}
        for condition in before.get("conditions") or ()
        if condition["type"] in _READINESS and condition.get("status") == "True"
    ]


def scheduled(before: Status, member: Status, now: str) -> Condition | None:
    """PodScheduled with what a kubelet adds: that it is True, where the pod was made with its nodeName, and the
    generation. None: it adds nothing.
    """
    ours, theirs = (
        next((c for c in status.get("conditions") or () if c["type"] == "PodScheduled" and c["status"] == "True"), None)
        for status in (before, member)
    )
    seen = {"observedGeneration": theirs["observedGeneration"]} if theirs and "observedGeneration" in theirs else {}
    if ours is None:
        return {"type": "PodScheduled", "status": "True", "lastTransitionTime": now} | seen
    return ours | seen if seen else None


def in_time(condition: Condition, before: Status, now: str) -> Condition:
    """A condition of the member's, with a date: of one that came without, the moment at which the parent showed it."""
    if condition.get("lastTransitionTime"):
        return condition
    moment = dated(condition["type"], condition["status"], "", before, now)["lastTransitionTime"]
    return condition | {"lastTransitionTime": moment}


def dated(type: str, status: str, reason: str, before: Status, now: str) -> Condition:
    """A condition of ours, dated by the moment at which it became that."""
    found = next((c for c in before.get("conditions") or () if c["type"] == type), None)
    moment = (found.get("lastTransitionTime") or now) if found and found.get("status") == status else now
    return {"type": type, "status": status, "reason": reason, "lastTransitionTime": moment}
