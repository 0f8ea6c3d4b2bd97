"""Container statuses of a parent pod if they are not simply those of its member pod.

They differ before containers have started, when earlier member pods have run them, when the member's admission has
added containers, and when the member pod was lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from datetime import datetime
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod, fields

Status = dict[str, Any]

_INIT_STATUSES: Final = "initContainerStatuses"
_STARTED_STATUSES: Final = ("containerStatuses", _INIT_STATUSES)  # of containers that a pod is created with
ALL_STATUSES: Final = (*_STARTED_STATUSES, "ephemeralContainerStatuses")


class _Container(msgspec.Struct, rename="camel"):
    name: str
    image: str = ""
    restart_policy: str = ""
    restart_policy_rules: list[dict[str, Any]] = []


class _Spec(msgspec.Struct, rename="camel"):
    restart_policy: str = "Always"
    containers: list[_Container] = []
    init_containers: list[_Container] = []


_spec = msgspec.json.Decoder(_Spec)


def waiting(parent: Pod, reason: str, message: str, counts: Mapping[str, int]) -> Status:
    """Statuses of containers none of which has started. `counts`: restarts by container name.

    An empty reason stands for that of a kubelet that has just accepted the pod.
    """
    spec = _spec.decode(parent.spec)
    reason = reason or ("PodInitializing" if spec.init_containers else "ContainerCreating")
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

    found: Status = {"containerStatuses": statuses(spec.containers)}
    if spec.init_containers:
        found[_INIT_STATUSES] = statuses(spec.init_containers)
    return found


def restarts(parent: Pod) -> dict[str, int]:
    """Restart counts for the next member pod: those that the parent pod shows, plus one for each container that ran."""
    counts: dict[str, int] = {}
    status = fields(parent.status)
    for field in _STARTED_STATUSES:
        for container in status.get(field) or ():
            ran = any(
                kind in container.get(when, {}) for when in ("state", "lastState") for kind in ("running", "terminated")
            )
            if count := container.get("restartCount", 0) + ran:
                counts[container["name"]] = count
    return counts


def deadline_left(parent: Pod, now: datetime) -> int | None:
    """Seconds that the next member pod has until `activeDeadlineSeconds`, which count from the start of the first one;
    at least 1. None: the pod has no deadline, or has not started. `now` is the time of the member's clock.
    """
    if b'"activeDeadlineSeconds"' not in bytes(parent.spec):
        return None
    deadline, started = fields(parent.spec).get("activeDeadlineSeconds"), fields(parent.status).get("startTime")
    if deadline is None or started is None:
        return None
    return max(1, int(deadline - (now - datetime.fromisoformat(started)).total_seconds()))


def earlier_restarts(member: Metadata) -> dict[str, int]:
    """Restarts in earlier member pods, by container name."""
    try:
        return msgspec.json.decode(member.annotations[wellknown.RESTARTS], type=dict[str, int])
    except msgspec.DecodeError:
        return {}  # another client in the member has changed it


def add_restarts(wanted: Status, counts: Mapping[str, int]) -> None:
    """Adds the restarts in earlier member pods."""
    for field in ALL_STATUSES:
        for container in wanted.get(field) or ():
            container["restartCount"] = container.get("restartCount", 0) + counts.get(container["name"], 0)


def keep_final_states(wanted: Status, before: Status, parent: Pod) -> None:
    """A container that has ended for good keeps that state, even if a later member pod runs it again.

    API servers reject a status in which it runs again
    (https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy).
    """
    spec = _spec.decode(parent.spec)
    if spec.restart_policy == "Always":
        return
    policy = {
        container.name: "Always" if container.restart_policy_rules else container.restart_policy or spec.restart_policy
        for container in (*spec.init_containers, *spec.containers)
    }
    for field in _STARTED_STATUSES:
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


def would_restart(parent: Pod, phase: str) -> bool:
    """Whether a kubelet would restart the containers of a pod that has reached this terminal phase."""
    policy = _spec.decode(parent.spec).restart_policy
    return policy == "Always" or (policy == "OnFailure" and phase == "Failed")


def leave_out_added(status: Status, names: Set[str], parent: Pod) -> None:
    """Leaves only the containers with these names, those of the parent pod, in the status of its member pod.

    If all of these have ended for good, so has the pod: a container that the member has added does not prolong it.
    """
    for field in ALL_STATUSES:
        if field in status:
            status[field] = [container for container in status[field] or () if container["name"] in names]
            if not status[field]:
                del status[field]
    ends: list[Any] = [
        (container.get("state") or {}).get("terminated") for container in status.get("containerStatuses") or ()
    ]
    if status.get("phase") == "Running" and ends and all(ends):
        phase = "Failed" if any(end["exitCode"] for end in ends) else "Succeeded"
        if not would_restart(parent, phase):
            status["phase"] = phase


def lost(current: Status) -> Status:
    """Container statuses of a pod that has failed because its member pod was lost, as a kubelet writes them if it does
    not know how a container ended.
    """
    unknown = {
        "exitCode": 137,
        "reason": "ContainerStatusUnknown",
        "message": "The container could not be located when the pod was terminated",
    }
    return {
        field: [
            container
            if "terminated" in (container.get("state") or {})
            else container | {"state": {"terminated": unknown}, "ready": False, "started": False}
            for container in containers
        ]
        for field in ALL_STATUSES
        if (containers := current.get(field))
    }
