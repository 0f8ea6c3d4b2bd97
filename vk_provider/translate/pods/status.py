"""A member pod's status as the parent pod's, and the patch that says only what changed.

Whatever a member's kubelet writes passes through, fields unknown to this code too. The parent's own: PodScheduled, the
conditions of others (readiness gates), qosClass, nominatedNodeName.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Condition, Metadata, Pod, fields
from vk_provider.translate.names import said_of_parent
from vk_provider.translate.pods.conditions import dated, in_time, no_longer_ready, scheduled, with_gates
from vk_provider.translate.pods.decide import TERMINAL

Status = dict[str, Any]

_PARENTS_OWN: Final = frozenset(
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
_PARENTS_CONDITIONS: Final = frozenset({"PodScheduled"})
_NOT_SCHEDULED: Final = frozenset({"Unschedulable", "SchedulerError", "SchedulingGated"})
# Conditions that a kubelet takes away again.
_PASSING_CONDITIONS: Final = frozenset({"PodResizePending", "PodResizeInProgress"})
_REPLACED_LISTS: Final = frozenset({"podIPs", "hostIPs"})  # merged by key in a strategic merge patch unless told
_STATUS_LISTS: Final = (
    ("containers", "containerStatuses"),
    ("initContainers", "initContainerStatuses"),
    ("ephemeralContainers", "ephemeralContainerStatuses"),
)


class _Container(msgspec.Struct, rename="camel"):
    name: str
    image: str = ""
    restart_policy: str = ""
    restart_policy_rules: list[dict[str, Any]] = []


class _Gate(msgspec.Struct, rename="camel"):
    condition_type: str


class _Seen(msgspec.Struct, rename="camel"):
    phase: str = ""
    container_statuses: list[msgspec.Raw] = []
    conditions: list[Condition] = []


class _Spec(msgspec.Struct, rename="camel"):
    restart_policy: str = "Always"
    containers: list[_Container] = []
    init_containers: list[_Container] = []
    readiness_gates: list[_Gate] = []


_spec = msgspec.json.Decoder(_Spec)


def reflected(parent: Pod, member: Pod, *, now: str) -> Status:
    """The status that the parent pod should have, given the member pod. `now` dates conditions that are ours."""
    status: Status = msgspec.json.decode(
        said_of_parent(bytes(member.status).decode(), parent.metadata, member.metadata)
    )
    before = fields(parent.status)
    wanted = {field: value for field, value in status.items() if field not in _PARENTS_OWN}
    wanted["phase"] = _phase(parent.metadata, before, member.metadata, status)
    spec = _spec.decode(parent.spec)
    earlier = _recorded_restarts(member.metadata)
    if not status.get("containerStatuses") and wanted["phase"] == "Pending":
        wanted |= _waiting(spec, *_waiting_for(status, bool(spec.init_containers)), earlier)
    else:
        _add_restarts(wanted, earlier)
    _keep_final_states(wanted, before, spec)
    parents = _PARENTS_CONDITIONS | {gate.condition_type for gate in spec.readiness_gates}
    conditions = [in_time(c, before, now) for c in status.get("conditions") or () if c["type"] not in parents]
    conditions = with_gates(conditions, [gate.condition_type for gate in spec.readiness_gates], before, now)
    shown = {condition["type"] for condition in conditions}
    conditions += [c | {"lastTransitionTime": now} for c in no_longer_ready(before) if c["type"] not in shown]
    if binding := scheduled(before, status, now):
        conditions.append(binding)
    conditions.append(dated(wellknown.CREATED_CONDITION, "True", "Created", before, now))
    # What the member's kubelet has not seen yet, the parent's has not either.
    seen = status.get("observedGeneration", 0) >= member.metadata.generation
    generation = parent.metadata.generation if seen else before.get("observedGeneration", 0)
    if generation:
        wanted["observedGeneration"] = generation
        conditions = [c | {"observedGeneration": generation} if "observedGeneration" in c else c for c in conditions]
    wanted["conditions"] = conditions
    return wanted


def is_silent(member: Pod) -> bool:
    """Whether the member's scheduler and kubelet have said nothing yet that a user would see."""
    status = msgspec.json.decode(member.status, type=_Seen)
    refused = any(c.type == "PodScheduled" and c.status == "False" for c in status.conditions)
    return status.phase in ("", "Pending") and not status.container_statuses and not refused


def waiting(parent: Pod, reason: str, message: str = "") -> Status:
    """Status of a pod none of whose containers can start yet; what restarts it had stay counted."""
    spec, before = _spec.decode(parent.spec), fields(parent.status)
    wanted = _waiting(spec, reason, message, restarts(parent))
    _keep_final_states(wanted, before, spec)
    if conditions := no_longer_ready(before):
        wanted["conditions"] = conditions
    return wanted | observed(parent)


def observed(parent: Pod) -> Status:
    """That this very generation of the pod was seen, for a status that no kubelet of the member has written."""
    return {"observedGeneration": parent.metadata.generation} if parent.metadata.generation else {}


def _waiting(spec: _Spec, reason: str, message: str, counts: Mapping[str, int]) -> Status:
    state: dict[str, Any] = {"waiting": {"reason": reason} | ({"message": message} if message else {})}

    def statuses(containers: list[_Container]) -> list[dict[str, Any]]:
        return [
            {
                "name": container.name,
                "image": container.image,
                "imageID": "",
                "ready": False,
                "started": False,
                "restartCount": counts.get(container.name, 0),
                "state": state,
                "lastState": {},
            }
            for container in containers
        ]

    found: Status = {"phase": "Pending", "containerStatuses": statuses(spec.containers)}
    if spec.init_containers:
        found["initContainerStatuses"] = statuses(spec.init_containers)
    return found


def failed(reason: str, message: str) -> Status:
    """Status of a pod that a kubelet would not admit."""
    return {"phase": "Failed", "reason": reason, "message": message}


def lost_patch(parent: Pod, message: str, *, now: str) -> dict[str, Any] | None:
    """The patch that makes a pod of a lost member not ready, so that Services drop it; None: it is not ready.

    Nothing else is known of it, so nothing else is said. Kubernetes itself does so only for nodes that it gave up.
    """
    found = no_longer_ready(fields(parent.status))
    if not found:
        return None
    said = {"reason": wellknown.MEMBER_LOST, "message": message, "lastTransitionTime": now}
    return {"metadata": {"uid": parent.metadata.uid}, "status": {"conditions": [c | said for c in found]}}


def restarts(parent: Pod) -> dict[str, int]:
    """Restart counts for the next member pod of this parent pod: what the parent shows, and one more for each that ran.

    A container that never ran has nothing to count.
    """
    counts: dict[str, int] = {}
    status = fields(parent.status)
    for _, field in _STATUS_LISTS[:2]:
        for container in status.get(field) or ():
            ran = any(
                kind in container.get(when, {}) for when in ("state", "lastState") for kind in ("running", "terminated")
            )
            if count := container.get("restartCount", 0) + ran:
                counts[container["name"]] = count
    return counts


def status_patch(parent: Pod, wanted: Status) -> dict[str, Any] | None:
    """The strategic merge patch of the status subresource that makes the parent's status `wanted`; None: it is.

    Fields absent from `wanted` that a member's kubelet owns are removed. Carries the UID as a precondition.
    """
    current = fields(parent.status)
    complete = "containerStatuses" in wanted or "conditions" in wanted
    if not complete and wanted.get("phase") in TERMINAL:
        wanted = wanted | _lost_containers(current)
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
        patch |= {field: None for field in current if field not in wanted and field not in _PARENTS_OWN}
    if conditions := _condition_changes(current.get("conditions") or [], wanted.get("conditions")):
        patch["conditions"] = conditions
    return {"metadata": {"uid": parent.metadata.uid}, "status": patch} if patch else None


def _phase(parent: Metadata, before: Status, member: Metadata, status: Status) -> str:
    phase: str = status.get("phase") or "Pending"
    earlier: str = before.get("phase") or "Pending"
    if earlier in TERMINAL:
        return earlier
    # Somebody deletes the member pod while the parent wants it: that its containers end now is not the pod's result.
    if phase in TERMINAL and member.deletion_timestamp is not None and parent.deletion_timestamp is None:
        return earlier
    return phase


def _waiting_for(status: Status, has_init: bool) -> tuple[str, str]:
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition.get("reason") in _NOT_SCHEDULED:
            return wellknown.MEMBER_UNSCHEDULABLE, condition.get("message", "")
    return ("PodInitializing" if has_init else "ContainerCreating"), ""


def _recorded_restarts(member: Metadata) -> dict[str, int]:
    try:
        return msgspec.json.decode(member.annotations.get(wellknown.RESTARTS, "{}"), type=dict[str, int])
    except msgspec.DecodeError:
        return {}  # somebody in the member changed it


def _add_restarts(wanted: Status, earlier: Mapping[str, int]) -> None:
    for _, field in _STATUS_LISTS:
        for container in wanted.get(field) or ():
            container["restartCount"] = container.get("restartCount", 0) + earlier.get(container["name"], 0)


def _keep_final_states(wanted: Status, before: Status, spec: _Spec) -> None:
    """A container that has ended for good stays so while a later member pod runs it once more.

    API servers refuse a status that takes it back
    (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy).
    """
    if spec.restart_policy == "Always":
        return
    policy = {
        container.name: "Always" if container.restart_policy_rules else container.restart_policy or spec.restart_policy
        for container in (*spec.init_containers, *spec.containers)
    }
    for _, field in _STATUS_LISTS[:2]:
        ended = {
            container["name"]: container
            for container in before.get(field) or ()
            if (end := (container.get("state") or {}).get("terminated"))
            and (policy.get(container["name"]) == "Never" or not end.get("exitCode"))
            and policy.get(container["name"]) != "Always"
        }
        if field in wanted:
            wanted[field] = [
                container if "terminated" in (container.get("state") or {}) else ended.get(container["name"], container)
                for container in wanted[field] or ()
            ]


def _lost_containers(current: Status) -> Status:
    """A failed pod runs nothing: what a kubelet writes where it cannot know how a container ended."""
    unknown = {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
    }
    found: Status = {}
    for _, field in _STATUS_LISTS:
        if containers := current.get(field):
            found[field] = [
                container
                if "terminated" in (container.get("state") or {})
                else container | {"state": {"terminated": unknown}, "ready": False, "started": False}
                for container in containers
            ]
    if conditions := no_longer_ready(current):
        found["conditions"] = [condition | {"reason": "PodFailed"} for condition in conditions]
    return found


def _condition_changes(current: list[dict[str, Any]], wanted: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    if wanted is None:
        return []
    have = {condition["type"]: condition for condition in current}
    # A condition is merged field by field: what it no longer says must be taken out.
    changed = [
        {field: None for field in have.get(condition["type"], {}) if field not in condition} | condition
        for condition in wanted
        if not _same(have.get(condition["type"]), condition)
    ]
    kinds = {condition["type"] for condition in wanted}
    return changed + [{"type": kind, "$patch": "delete"} for kind in sorted(_PASSING_CONDITIONS & have.keys() - kinds)]


def _same(one: Any, other: Any) -> bool:
    """Equality, but a field that is null is a field that is absent: servers write it either way."""
    if one == other:
        return True
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return all(_same(one.get(key), other.get(key)) for key in one.keys() | other.keys())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
