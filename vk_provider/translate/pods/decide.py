"""decide(parent pod, member pod): what to do next about one pod. The heart, and a pure function.

A parent pod's life as this function sees it (member pod in brackets; times go down):

    active        [none, never created]   Create ------------+
       |          [none, created before]  Create again, or Fail where restartPolicy is Never
       |          [ours]                  Reflect, patch what may change
       |          [another parent UID]    Delete that, wait, then Create
       |          [not ours]              Conflict
    terminal      [ours]                  Keep (its logs) until the parent pod is deleted; Reflect what else is said
    deleting      [ours]                  Delete with the grace that is left; Reflect until it is gone
       |          [none]                  Finish: the parent pod goes too
    gone          [ours]                  Orphan: delete, once the parent itself confirms

The caller sees to it that a member pod counts as `None` only where its absence is known, not merely unheard of.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod, pod_phase
from vk_provider.translate.names import Names

TERMINAL: Final = frozenset({"Succeeded", "Failed"})
_MIRROR: Final = "kubernetes.io/config.mirror"


@dataclass(frozen=True)
class Create:
    """Bring the dependents, then create the member pod. `again`: an earlier one was lost, so count a restart."""

    again: bool = False


@dataclass(frozen=True)
class Reflect:
    """Bring the member pod up to date with the parent pod, and the parent pod's status with the member's."""


@dataclass(frozen=True)
class Keep:
    """The parent pod's phase is final, and the member pod stays, for its logs.

    `reflect`: both have ended alike, and what the member's kubelet still says of the rest is to be shown.
    """

    reflect: bool = False


@dataclass(frozen=True)
class Delete:
    """Delete this incarnation of the member pod. `grace_seconds` None: what the pod itself says."""

    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True)
class AwaitGone:
    """The member pod is on its way out; reflect its status until it is gone."""


@dataclass(frozen=True)
class Finish:
    """The member pod is gone: delete the parent pod for good."""


@dataclass(frozen=True)
class Fail:
    """The parent pod becomes Failed, as a kubelet fails a pod at admission.

    `rejected`: in a kubelet's words, which say so in the pod's status and leave it out of the Event.
    """

    reason: str
    message: str
    rejected: bool = False

    @property
    def status_message(self) -> str:
        return f"Pod was rejected: {self.message}" if self.rejected else self.message


@dataclass(frozen=True)
class Conflict:
    """The name is taken in the member by something that is not ours: touch nothing, and say so."""

    message: str


@dataclass(frozen=True)
class Orphan:
    """The member pod's parent pod is gone as far as is known; delete it after the parent confirms that."""

    uid: str


@dataclass(frozen=True)
class Nothing:
    """There is nothing to do."""


Action = Create | Reflect | Keep | Delete | AwaitGone | Finish | Fail | Conflict | Orphan | Nothing


class _Spec(msgspec.Struct, rename="camel"):
    restart_policy: str = "Always"
    resource_claims: list[dict[str, Any]] | None = None


_spec = msgspec.json.Decoder(_Spec)


def decide(parent: Pod | None, member: Pod | None, names: Names, *, now: datetime, made: str = "") -> Action:
    """What to do about one pod. `now` only counts how much of a grace period is left.

    `made`: UID of a parent pod that is known to have had a member pod, before its status says so.
    """
    if parent is None:
        return _parentless(member, names)
    ours = member is not None and names.owns(member.metadata.labels)
    if parent.metadata.deletion_timestamp is not None:
        if member is None or not ours or _parent_uid(member) != parent.metadata.uid:
            return Finish()  # whatever has that name in the member is not this pod
        return _delete(parent.metadata, member.metadata, now)
    phase = pod_phase(parent)
    if phase.phase in TERMINAL:
        same = member is not None and ours and _parent_uid(member) == parent.metadata.uid
        return Keep(reflect=same and member is not None and pod_phase(member).phase == phase.phase)
    if refused := refusal(parent):
        return refused
    if member is None and wellknown.PLAN in parent.metadata.labels:
        return Nothing()  # a shadow: the scheduler was asked where it would go, and that is all
    if member is None:
        return _absent(parent, created=phase.has(wellknown.CREATED_CONDITION) or made == parent.metadata.uid)
    if not ours:
        return Conflict(
            f"a pod {member.metadata.key} that is not managed by virtual node {names.node} exists in the member cluster"
        )
    if _parent_uid(member) != parent.metadata.uid:
        return Delete(member.metadata.uid) if member.metadata.deletion_timestamp is None else Nothing()
    return Reflect()


def _parent_uid(member: Pod) -> str:
    return member.metadata.annotations.get(wellknown.PARENT_UID, "")


def _parentless(member: Pod | None, names: Names) -> Action:
    if member is None or not names.owns(member.metadata.labels) or member.metadata.deletion_timestamp is not None:
        return Nothing()
    return Orphan(member.metadata.uid)


def _absent(parent: Pod, *, created: bool) -> Action:
    if not created:
        return Create()
    if _spec.decode(parent.spec).restart_policy == "Never":
        return Fail(
            wellknown.MEMBER_POD_LOST, "the pod was removed from the member cluster, and its restartPolicy is Never"
        )
    return Create(again=True)


def refusal(parent: Pod) -> Fail | None:
    """Why the pod cannot run on a virtual node at all; None where it can."""
    if _MIRROR in parent.metadata.annotations:
        return Fail(wellknown.NOT_SUPPORTED, "static (mirror) pods cannot run on a virtual node")
    if _spec.decode(parent.spec).resource_claims:
        return Fail(wellknown.NOT_SUPPORTED, "spec.resourceClaims (dynamic resource allocation) cannot be honoured")
    return None


def _delete(parent: Metadata, member: Metadata, now: datetime) -> Action:
    grace = parent.deletion_grace_period_seconds
    grace = 30 if grace is None else grace
    if member.deletion_timestamp is not None:
        # A second delete with a shorter grace shortens it, as on a kubelet; a longer one changes nothing.
        asked = member.deletion_grace_period_seconds
        return AwaitGone() if asked is None or asked <= max(grace, 1) else Delete(member.uid, max(grace, 1))
    if parent.deletion_timestamp is not None:
        left = (datetime.fromisoformat(parent.deletion_timestamp) - now).total_seconds()
        grace = min(grace, max(0, round(left)))
    # Zero would remove the member's API object at once, with its containers still running.
    return Delete(member.uid, max(grace, 1))
