"""decide(parent pod, member pod): the next action for one pod. A pure function.

The life of a parent pod, from top to bottom; the member pod is in brackets:

    active        [none, never created]   Create
       |          [none, created before]  Create again; Fail if restartPolicy is Never
       |          [ours]                  Reflect, and patch what may change
       |          [ours, being deleted]   Reflect; if that is overdue: Evict, so that the controller replaces the pod
       |          [another parent UID]    Delete that, wait, then Create
       |          [not ours]              Conflict
    terminal      [ours, ended]           Keep it (for its logs) until the parent pod is deleted; Reflect later changes
       |          [ours, living]          Delete it: no container of a terminal pod runs
    deleting      [ours]                  Delete with the remaining grace period; Reflect until it no longer exists
       |          [none]                  Finish: delete the parent pod
    absent        [ours]                  Orphan: delete it once the parent itself confirms

The caller passes None for a member pod only if it is certain that the pod does not exist.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod, PodPhase, pod_phase
from vk_provider.translate.names import Names
from vk_provider.translate.pods.disruption import Disruption, given_away, overdue

_MIRROR: Final = "kubernetes.io/config.mirror"


@dataclass(frozen=True)
class Create:
    """Bring the dependents, then create the member pod. `recreate`: an earlier one was lost, so count a restart."""

    recreate: bool = False


@dataclass(frozen=True)
class Reflect:
    """Apply changes of the parent pod to the member pod, and copy the member pod's status to the parent pod."""


@dataclass(frozen=True)
class Keep:
    """The parent pod's phase is final, and the member pod stays, for its logs.

    `reflect`: both have the same phase, so the rest of the member pod's status is still copied.
    """

    reflect: bool = False


@dataclass(frozen=True)
class Delete:
    """Delete this incarnation of the member pod. `grace_seconds` None: the grace period of the pod itself."""

    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True)
class AwaitGone:
    """The member pod is being deleted; reflect its status until it no longer exists."""


@dataclass(frozen=True)
class Evict:
    """The member has given the pod up, or does not get rid of it: set the condition DisruptionTarget, then delete the
    parent pod with its grace period, so that its controller replaces it.

    If the pod must not be evicted, ask `decide` again with `evictable=False`.
    """

    disruption: Disruption


@dataclass(frozen=True)
class Finish:
    """The member pod no longer exists: delete the parent pod for good."""


@dataclass(frozen=True)
class Fail:
    """The parent pod becomes Failed, as a kubelet fails a pod at admission.

    `rejected`: with the wording of a kubelet, which prefixes the message in the pod's status, but not in the Event.
    """

    reason: str
    message: str
    rejected: bool = False

    @property
    def status_message(self) -> str:
        return f"Pod was rejected: {self.message}" if self.rejected else self.message


@dataclass(frozen=True)
class Conflict:
    """A pod in the member has the name and is not ours: change nothing, and report it."""

    message: str


@dataclass(frozen=True)
class Orphan:
    """The parent pod does not seem to exist. Delete the member pod after the parent confirms that."""


@dataclass(frozen=True)
class Nothing:
    """There is nothing to do."""


Action = Create | Reflect | Keep | Delete | AwaitGone | Evict | Finish | Fail | Conflict | Orphan | Nothing


class _Spec(msgspec.Struct, rename="camel"):
    restart_policy: str = "Always"
    resource_claims: list[dict[str, Any]] | None = None


_spec = msgspec.json.Decoder(_Spec)


def decide(
    parent: Pod | None,
    member: Pod | None,
    names: Names,
    *,
    now: datetime,
    member_now: datetime | None = None,
    created_uid: str = "",
    evictable: bool = True,
) -> Action:
    """The next action for one pod. `now` and `member_now` are the clocks of the parent and of the member (None: the
    same): they are used only to compute what is left of a grace period.

    `created_uid`: UID of a parent pod that is known to have had a member pod, even if its status does not show it yet.
    `evictable`: whether the parent pod may be deleted for its controller to replace it.
    """
    if parent is None:
        return _without_parent(member, names)
    ours = member is not None and names.owns(member.metadata.labels)
    if parent.metadata.deletion_timestamp is not None:
        if member is None or not ours or _parent_uid(member) != parent.metadata.uid:
            return Finish()  # a pod with that name in the member, if any, is not ours
        return _delete(parent.metadata, member.metadata, now)
    phase = pod_phase(parent)
    if phase.ended:
        return _terminal(parent, phase, member if ours else None)
    if rejected := rejection(parent):
        return rejected
    if member is None:
        if wellknown.PLAN in parent.metadata.labels:
            return Nothing()  # a shadow pod of `plan-failover`: it exists only to be scheduled
        created = phase.has(wellknown.CREATED_CONDITION) or created_uid == parent.metadata.uid
        return _without_member(parent, phase, created=created, evictable=evictable)
    if not ours:
        return Conflict(
            f"a pod {member.metadata.key} that is not managed by virtual node {names.node} exists in the member cluster"
        )
    if _parent_uid(member) != parent.metadata.uid:
        return Delete(member.metadata.uid) if member.metadata.deletion_timestamp is None else Nothing()
    disruption = overdue(member, member_now or now) if evictable and member.metadata.deletion_timestamp else None
    return Evict(disruption) if disruption else Reflect()


def rejection(parent: Pod) -> Fail | None:
    """Why the pod can never run on a virtual node; None if it can."""
    if _MIRROR in parent.metadata.annotations:
        return Fail(wellknown.NOT_SUPPORTED, "static (mirror) pods cannot run on a virtual node")
    if _spec.decode(parent.spec).resource_claims:
        return Fail(wellknown.NOT_SUPPORTED, "spec.resourceClaims (dynamic resource allocation) cannot be honoured")
    return None


def needs_admission(parent: Pod) -> bool:
    """Whether `admission` has to check the pod before it is created. Cheap, and a False is always right.

    It looks for the names of the fields in the bytes of the spec: host ports, and node selectors that no scheduler has
    checked.
    """
    spec = bytes(parent.spec)
    if b'"hostPort"' in spec:
        return True
    return (b'"nodeSelector"' in spec or b'"nodeAffinity"' in spec) and not pod_phase(parent).has("PodScheduled")


def _parent_uid(member: Pod) -> str:
    return member.metadata.annotations.get(wellknown.PARENT_UID, "")


def _without_parent(member: Pod | None, names: Names) -> Action:
    if member is None or not names.owns(member.metadata.labels) or member.metadata.deletion_timestamp is not None:
        return Nothing()
    return Orphan()


def _terminal(parent: Pod, phase: PodPhase, member: Pod | None) -> Action:
    """`member`: the member pod, if it is ours. A kubelet, too, stops what the API server calls terminal."""
    if member is None or _parent_uid(member) != parent.metadata.uid:
        return Keep()
    found = pod_phase(member)
    if found.ended or member.metadata.deletion_timestamp is not None:
        return Keep(reflect=found.phase == phase.phase)
    return Delete(member.metadata.uid)


def _without_member(parent: Pod, phase: PodPhase, *, created: bool, evictable: bool) -> Action:
    if not created:
        return Create()
    if evictable and (disruption := given_away(phase.conditions)):
        return Evict(disruption)
    if _spec.decode(parent.spec).restart_policy == "Never":
        return Fail(
            wellknown.MEMBER_POD_LOST, "the pod was removed from the member cluster, and its restartPolicy is Never"
        )
    return Create(recreate=True)


def _delete(parent: Metadata, member: Metadata, now: datetime) -> Action:
    grace = parent.deletion_grace_period_seconds
    grace = 30 if grace is None else grace
    if member.deletion_timestamp is not None:
        # As on a kubelet, a second delete with a shorter grace period shortens it, and a longer one changes nothing.
        current = member.deletion_grace_period_seconds
        return AwaitGone() if current is None or current <= max(grace, 1) else Delete(member.uid, max(grace, 1))
    if parent.deletion_timestamp is not None:
        left = (datetime.fromisoformat(parent.deletion_timestamp) - now).total_seconds()
        grace = min(grace, max(0, round(left)))
    # 0 would remove the member's API object at once, while its containers still run.
    return Delete(member.uid, max(grace, 1))
