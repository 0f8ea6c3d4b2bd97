"""The status of a parent pod, and the patch that writes only what has changed.

Fields that a kubelet of the member writes pass through, unknown ones too. The parent owns `_PARENTS_FIELDS`, the
condition PodScheduled, and the conditions of readiness gates.

The order of the steps in `reflected`:

    member's status --> without what the member added --> phase --> containers: waiting, or plus restarts
       --> final states --> conditions --> generation

The containers that the member's admission has added are left out first: nothing in the parent counts them. The phase
comes next, because only a Pending pod can have containers that have not started. Restarts are added before
final states are restored, because a restored container has its complete count already. The generation comes last,
because it is copied into the conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import TERMINAL, Condition, Metadata, Pod, fields
from vk_provider.translate.names import container_names, with_parent_names
from vk_provider.translate.pods import container_statuses, disruption
from vk_provider.translate.pods.readiness_gates import apply_gates, gates

Status = dict[str, Any]
Conditions = list[dict[str, Any]]

_PARENTS_FIELDS: Final = frozenset(
    {
        "conditions",
        "qosClass",
        "nominatedNodeName",
        "observedGeneration",
        "resourceClaimStatuses",
        "extendedResourceClaimStatus",
        "nodeAllocatableResourceClaimStatuses",
    }
)
_SCHEDULED: Final = "PodScheduled"
_READINESS: Final = ("Ready", "ContainersReady")  # a kubelet writes both as False while a container is not ready
_NOT_SCHEDULED: Final = frozenset({"Unschedulable", "SchedulerError", "SchedulingGated"})
# Conditions that a kubelet removes again.
_TEMPORARY_CONDITIONS: Final = frozenset({"PodResizePending", "PodResizeInProgress"})
# Conditions of an earlier member pod, which do not hold for the next one.
_EARLIER_CONDITIONS: Final = frozenset({disruption.DISRUPTION_TARGET, "Initialized", "PodReadyToStartContainers"})
_REPLACED_LISTS: Final = frozenset({"podIPs", "hostIPs"})  # a strategic merge patch would merge them by key


class _Progress(msgspec.Struct, rename="camel"):
    phase: str = ""
    container_statuses: list[msgspec.Raw] = []
    conditions: list[Condition] = []


_progress = msgspec.json.Decoder(_Progress)


def reflected(parent: Pod, member: Pod, *, now: str) -> Status:
    """The status that the parent pod should have, given the member pod. `now` is the time of conditions of ours.

    The module's text explains the order of the steps.
    """
    status: Status = msgspec.json.decode(
        with_parent_names(bytes(member.status).decode(), parent.metadata, member.metadata)
    )
    before = fields(parent.status)
    _leave_out_added(status, parent)
    wanted = {field: value for field, value in status.items() if field not in _PARENTS_FIELDS}
    wanted |= _first_start(before)
    wanted["phase"] = _phase(parent, before, member.metadata, status)
    counted = wellknown.RESTARTS in member.metadata.annotations
    counts = container_statuses.earlier_restarts(member.metadata) if counted else {}
    pending = status.get("phase") in (None, "", "Pending") and wanted["phase"] not in TERMINAL
    if pending and not status.get("containerStatuses"):
        wanted |= container_statuses.waiting(parent, *_waiting_reason(status), counts)
    elif counts:
        container_statuses.add_restarts(wanted, counts)
    _keep_final_states(wanted, before, parent)
    conditions = _conditions(parent, before, member.metadata, status, wanted["phase"], now)
    # The parent's kubelet has not observed what the member's kubelet has not observed.
    observed = status.get("observedGeneration", 0) >= member.metadata.generation
    generation = parent.metadata.generation if observed else before.get("observedGeneration", 0)
    if generation:
        wanted["observedGeneration"] = generation
        conditions = [c | {"observedGeneration": generation} if "observedGeneration" in c else c for c in conditions]
    wanted["conditions"] = conditions
    return wanted


def has_no_status(member: Pod) -> bool:
    """Whether scheduler and kubelet of the member have not written anything yet that a user should see."""
    status = _progress.decode(member.status)
    unschedulable = any(c.type == _SCHEDULED and c.status == "False" for c in status.conditions)
    return status.phase in ("", "Pending") and not status.container_statuses and not unschedulable


def waiting(parent: Pod, reason: str, message: str = "") -> Status:
    """Status of a pod that cannot start any container yet, or none again. Its restart counts stay."""
    before = fields(parent.status)
    wanted: Status = {"phase": _forward(before, "Pending")} | container_statuses.waiting(
        parent, reason, message, container_statuses.restarts(parent)
    )
    wanted |= _first_start(before)
    _keep_final_states(wanted, before, parent)
    if conditions := _no_longer_ready(before):
        wanted["conditions"] = conditions
    return wanted | observed(parent)


def failed(reason: str, message: str) -> Status:
    """Status of a pod that a kubelet would not admit."""
    return {"phase": "Failed", "reason": reason, "message": message}


def observed(parent: Pod) -> Status:
    """The generation of the parent pod as observed: for a status that no kubelet of the member has written."""
    return {"observedGeneration": parent.metadata.generation} if parent.metadata.generation else {}


def not_ready_patch(parent: Pod, message: str, *, now: str) -> dict[str, Any] | None:
    """The patch that makes a pod of a lost member not Ready, so that Services drop it; None if it is not Ready already.

    Its state is unknown, so the patch changes nothing else. Kubernetes does the same, but only once a node is
    unreachable.
    """
    found = _no_longer_ready(fields(parent.status))
    if not found:
        return None
    cause = {"reason": wellknown.MEMBER_LOST, "message": message, "lastTransitionTime": now}
    return {"metadata": {"uid": parent.metadata.uid}, "status": {"conditions": [c | cause for c in found]}}


def status_patch(parent: Pod, wanted: Status) -> dict[str, Any] | None:
    """The strategic merge patch of the status subresource that makes the parent's status `wanted`; None if it is.

    Removes fields that a member's kubelet owns and that `wanted` does not have. Carries the UID as a precondition.
    """
    current = fields(parent.status)
    complete = "containerStatuses" in wanted or "conditions" in wanted
    if not complete and wanted.get("phase") in TERMINAL:
        wanted = wanted | container_statuses.lost(current)
        conditions = [condition | {"reason": "PodFailed"} for condition in _no_longer_ready(current)]
        if wanted.get("reason") == wellknown.MEMBER_POD_LOST:
            conditions += disruption.of_loss(current.get("conditions") or ())
        if conditions:
            wanted["conditions"] = conditions
    patch: dict[str, Any] = {}
    for field, value in wanted.items():
        if field == "conditions" or _same(current.get(field), value):
            continue
        if field in _REPLACED_LISTS and current.get(field):
            value = [{"$patch": "replace"}, *value]
        elif isinstance(value, dict) and isinstance(current.get(field), dict):
            value = {"$patch": "replace"} | value
        patch[field] = value
    if complete:
        patch |= {field: None for field in current if field not in wanted and field not in _PARENTS_FIELDS}
    removable = (
        _TEMPORARY_CONDITIONS if wanted.get("phase") in TERMINAL else _TEMPORARY_CONDITIONS | _EARLIER_CONDITIONS
    )
    if changed := _condition_changes(current.get("conditions") or [], wanted.get("conditions"), removable):
        patch["conditions"] = changed
    return {"metadata": {"uid": parent.metadata.uid}, "status": patch} if patch else None


def _leave_out_added(status: Status, parent: Pod) -> None:
    """Removes the statuses of containers that the parent pod does not have: the member's admission has added them."""
    names = container_names(parent)
    if any(c["name"] not in names for kind in container_statuses.ALL_STATUSES for c in status.get(kind) or ()):
        container_statuses.leave_out_added(status, names, parent)


def _phase(parent: Pod, before: Status, member: Metadata, status: Status) -> str:
    phase: str = status.get("phase") or "Pending"
    earlier: str = before.get("phase") or "Pending"
    if earlier in TERMINAL:
        return earlier
    # Another client deletes the member pod while the parent pod exists: containers that would be restarted have not
    # reached the pod's end.
    removed = member.deletion_timestamp is not None and parent.metadata.deletion_timestamp is None
    if phase in TERMINAL and removed and container_statuses.would_restart(parent, phase):
        return earlier
    return _forward(before, phase)


def _first_start(before: Status) -> Status:
    """The start time never changes, as on a kubelet, even if a later member pod starts again."""
    return {"startTime": before["startTime"]} if before.get("startTime") else {}


def _forward(before: Status, phase: str) -> str:
    """A pod that has run is not Pending again, even if its next member pod is."""
    return "Running" if phase == "Pending" and before.get("phase") == "Running" else phase


def _waiting_reason(status: Status) -> tuple[str, str]:
    """Reason and message of containers that have not started; an empty reason means that nothing is wrong."""
    for condition in status.get("conditions") or ():
        if condition["type"] == _SCHEDULED and condition.get("reason") in _NOT_SCHEDULED:
            return wellknown.MEMBER_UNSCHEDULABLE, condition.get("message", "")
    return "", ""


def _keep_final_states(wanted: Status, before: Status, parent: Pod) -> None:
    if b'"terminated"' in bytes(parent.status):
        container_statuses.keep_final_states(wanted, before, parent)


def _conditions(parent: Pod, before: Status, member: Metadata, status: Status, phase: str, now: str) -> Conditions:
    """The conditions that the parent pod should have, except those of readiness gates. `status`: the member's.

    One without a transition time, as those of ours, gets the time at which the parent first had it with that status.
    """
    current: Conditions = before.get("conditions") or []
    theirs: Conditions = status.get("conditions") or []
    found = [condition for condition in theirs if condition["type"] != _SCHEDULED]
    if b'"readinessGates"' in bytes(parent.spec):
        found = apply_gates(found, gates(parent), current)
    shown = {condition["type"] for condition in found}
    found += [condition for condition in _no_longer_ready(before) if condition["type"] not in shown]
    found += _scheduled(current, theirs)
    if b'"DisruptionTarget"' in bytes(parent.status):
        found += disruption.of_this_pod(current, shown, member)
    if member.deletion_timestamp and not parent.metadata.deletion_timestamp and before.get("phase") not in TERMINAL:
        found += disruption.of_end(phase, found)
    found.append({"type": wellknown.CREATED_CONDITION, "status": "True", "reason": "Created"})
    return [c if c.get("lastTransitionTime") else c | _transition(c, current, now) for c in found]


def _scheduled(current: Conditions, theirs: Conditions) -> Conditions:
    """PodScheduled if a kubelet adds something to it: the observed generation; and status True if the pod was created
    with its nodeName.
    """
    ours, member = (
        next((c for c in conditions if c["type"] == _SCHEDULED and c["status"] == "True"), None)
        for conditions in (current, theirs)
    )
    seen = {"observedGeneration": member["observedGeneration"]} if member and "observedGeneration" in member else {}
    if ours is None:
        return [{"type": _SCHEDULED, "status": "True"} | seen]
    return [ours | seen] if seen else []


def _transition(condition: Mapping[str, Any], current: Conditions, now: str) -> dict[str, str]:
    """The transition time: that of the current condition if its status is the same, else `now`."""
    before = next((c for c in current if c["type"] == condition["type"]), {})
    same = before.get("status") == condition["status"]
    return {"lastTransitionTime": (same and before.get("lastTransitionTime")) or now}


def _no_longer_ready(status: Status) -> Conditions:
    """Readiness conditions that are True now, as False."""
    return [
        {"type": condition["type"], "status": "False", "reason": "ContainersNotReady"}
        for condition in status.get("conditions") or ()
        if condition["type"] in _READINESS and condition.get("status") == "True"
    ]


def _condition_changes(current: Conditions, wanted: Conditions | None, removable: Set[str]) -> Conditions:
    if wanted is None:
        return []
    have = {condition["type"]: condition for condition in current}
    # A condition is merged field by field: fields that it no longer has must be removed.
    changed = [
        {field: None for field in have.get(condition["type"], {}) if field not in condition} | condition
        for condition in wanted
        if not _same(have.get(condition["type"]), condition)
    ]
    ended = (removable & have.keys()) - {condition["type"] for condition in wanted}
    return changed + [{"type": kind, "$patch": "delete"} for kind in sorted(ended)]


def _same(one: Any, other: Any) -> bool:
    """Equality, except that a null field equals an absent field: API servers write both."""
    if one == other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
