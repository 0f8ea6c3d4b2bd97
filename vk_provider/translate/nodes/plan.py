"""A failover plan: what the parent's scheduler is asked about a pod, and what the answer means.

    a pod of the node -+- has ended, is being deleted, or belongs to a DaemonSet   not affected
                       +- asks to be held, or tolerates the loss without limit      Stays
                       +- has no controller                                         Ends
                       +- otherwise the scheduler gets its shadow -+- bound           Moves, or Waits for a fence
                                                                   +- unschedulable   Cannot
                                                                   +- API rejects it  Refused
                                                                   +- no decision     Unknown

A shadow has everything that the scheduler or an admission looks at, but it can never run: its image has no registry,
and a kubelet would wait for a ConfigMap that never exists before it creates a sandbox. The reasons are in
docs/decisions/0020-plan-failover.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import OwnedMetadata, OwnerReference, Pod, PodPhase, pod_phase
from vk_provider.kube.resources import PRIORITY_CLASSES
from vk_provider.translate.references import STARTED_LISTS, claims
from vk_provider.translate.selectors import REQUIRED
from vk_provider.translate.tolerations import NOT_READY, deciding

PRIORITY: Final = -1_000_000_000  # below all others: real pods preempt a shadow, and autoscalers ignore it
HOLD: Final = "Hold"
_IMAGE: Final = "vk-provider.invalid/plan:never"  # no such domain can exist: RFC 2606
_SAME_NAME: Final = "StatefulSet"  # its new pod has the name of the old one, so the old one must be gone first
_OMITTED: Final = frozenset(
    {
        "nodeName",
        "priority",
        "priorityClassName",
        "preemptionPolicy",
        "overhead",  # admission computes it from the RuntimeClass, and rejects any other
        "ephemeralContainers",  # not allowed in a create
        "imagePullSecrets",
        "hostname",
        "subdomain",
        "schedulingGroup",  # a shadow must not complete a gang
    }
)
_OMITTED_IN_CONTAINERS: Final = frozenset({"env", "envFrom", "volumeDevices"})


class Outcome(StrEnum):
    """What would happen to one pod."""

    MOVES = "Moves"
    WAITS = "Waits"  # there is room, but the old pod must be gone first, which requires a fence
    CANNOT = "Cannot"  # it fits no node
    REFUSED = "Refused"  # the API server rejects the shadow: quota, admission, permissions
    UNKNOWN = "Unknown"  # the scheduler has not decided
    ENDS = "Ends"  # nothing would recreate it
    STAYS = "Stays"  # as it asks


@dataclass(frozen=True)
class Verdict:
    """The outcome for one pod. `node` is where it would run."""

    outcome: Outcome
    node: str = ""
    message: str = ""


@dataclass(frozen=True)
class Plan:
    """One run of the command, for the loss of `node`. `owner_uid` is the UID of its PriorityClass."""

    id: str
    node: str
    owner_uid: str = ""

    @property
    def name(self) -> str:
        """Name of the PriorityClass, and of the ConfigMap that never exists."""
        return f"vk-provider-plan-{self.id}"

    @property
    def selector(self) -> str:
        """Label selector of its shadows."""
        return f"{wellknown.PLAN}={self.id}"


class Planned(msgspec.Struct):
    """A pod of the node: the parts that a plan depends on."""

    metadata: OwnedMetadata
    spec: dict[str, Any]
    status: PodPhase = msgspec.field(default_factory=PodPhase)

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that would recreate the pod."""
        return self.metadata.controller

    @property
    def priority(self) -> int:
        """Pods with a higher priority get room first."""
        return int(self.spec.get("priority") or 0)


def is_affected(pod: Planned) -> bool:
    """Whether the loss of the node would affect this pod."""
    metadata, controller = pod.metadata, pod.controller
    return (
        not pod.status.ended
        and metadata.deletion_timestamp is None
        and wellknown.PLAN not in metadata.labels
        and (controller is None or controller.kind != "DaemonSet")
    )


def verdict_without_scheduler(pod: Planned) -> Verdict | None:
    """The verdict if it does not depend on the scheduler, else None."""
    if pod.metadata.annotations.get(wellknown.ON_LOST) == HOLD:
        return Verdict(Outcome.STAYS, message=f"annotated {wellknown.ON_LOST}: {HOLD}")
    if eviction_seconds(pod) is None:
        return Verdict(Outcome.STAYS, message=f"tolerates {NOT_READY} without limit")
    if pod.controller is None:
        return Verdict(Outcome.ENDS, message="has no controller that would recreate it")
    return None


def eviction_seconds(pod: Planned) -> int | None:
    """Seconds from "the node is not ready" to the eviction; None: it is never evicted."""
    toleration = deciding(pod.spec.get("tolerations") or (), NOT_READY)
    if toleration is None:
        return 0
    seconds = toleration.get("tolerationSeconds")
    return None if seconds is None else max(0, int(seconds))


def shadow(pod: Planned, name: str, plan: Plan) -> dict[str, Any]:
    """The manifest of the pod's shadow."""
    spec = {key: value for key, value in pod.spec.items() if key not in _OMITTED}
    for kind in STARTED_LISTS:
        if kind in spec:
            spec[kind] = [_container(container, plan) for container in spec[kind]]
    spec["volumes"] = [*claims(spec), {"name": plan.name, "configMap": {"name": plan.name}}]
    spec["affinity"] = _elsewhere(spec.get("affinity") or {}, plan.node)
    spec["priorityClassName"] = plan.name
    spec["automountServiceAccountToken"] = False
    spec["terminationGracePeriodSeconds"] = 0  # no kubelet has to confirm its end
    owner = {
        "apiVersion": PRIORITY_CLASSES.api_version,
        "kind": PRIORITY_CLASSES.kind,
        "name": plan.name,
        "uid": plan.owner_uid,
        "controller": True,  # otherwise the ReplicaSet whose selector it matches would adopt it
    }
    metadata = {
        "name": name,
        "labels": pod.metadata.labels | {wellknown.PLAN: plan.id},
        "annotations": pod.metadata.annotations,
        "ownerReferences": [owner],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


class _Bound(msgspec.Struct, rename="camel"):
    node_name: str = ""


def answer(found: Pod) -> Verdict | None:
    """The scheduler's verdict on a shadow; None if it has not decided yet."""
    if node := msgspec.json.decode(found.spec, type=_Bound).node_name:
        return Verdict(Outcome.MOVES, node)
    for condition in pod_phase(found).conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            if condition.reason == "Unschedulable":
                return Verdict(Outcome.CANNOT, message=_without_preemption(condition.message))
            if condition.reason == "SchedulingGated":
                return Verdict(Outcome.UNKNOWN, message="something holds it back with a scheduling gate")
    return None


def final_verdict(pod: Planned, verdict: Verdict) -> Verdict:
    """The verdict on the pod, given the verdict on its shadow."""
    controller = pod.controller
    if verdict.outcome is Outcome.MOVES and controller is not None and controller.kind == _SAME_NAME:
        return replace(
            verdict,
            outcome=Outcome.WAITS,
            message=f"{controller.kind} {controller.name} waits until the old pod is gone: that requires a fence",
        )
    return verdict


class _Constraint(msgspec.Struct, rename="camel"):
    topology_key: str
    when_unsatisfiable: str = ""
    node_taints_policy: str = ""


class _Spread(msgspec.Struct, rename="camel"):
    topology_spread_constraints: list[_Constraint] = []


def reservations(pod: Planned, created: Pod | None, verdict: Verdict) -> list[str]:
    """What the plan cannot know, if it matters for this pod. `created` is the shadow after admission."""
    found = []
    if created is not None and verdict.outcome in (Outcome.MOVES, Outcome.WAITS):
        found += [
            f"may be held back: the lost node counts as an empty domain of {constraint.topology_key} unless"
            " nodeTaintsPolicy is Honor"
            for constraint in msgspec.json.decode(created.spec, type=_Spread).topology_spread_constraints
            if constraint.when_unsatisfiable == "DoNotSchedule" and constraint.node_taints_policy != "Honor"
        ]
    if verdict.outcome is Outcome.CANNOT and pod.spec.get("preemptionPolicy") != "Never" and pod.priority > 0:
        found.append(f"with priority {pod.priority} it may preempt others, which a plan does not try")
    if verdict.outcome is Outcome.REFUSED and "exceeded quota" in verdict.message:
        found.append("the old pod counts in the quota now, and no longer some time after its grace period")
    return found


def _container(container: dict[str, Any], plan: Plan) -> dict[str, Any]:
    kept = {key: value for key, value in container.items() if key not in _OMITTED_IN_CONTAINERS}
    # A kubelet mounts only what containers mount: it waits for the ConfigMap, and the claims stay unmounted.
    return kept | {"image": _IMAGE, "volumeMounts": [{"name": plan.name, "mountPath": "/vk-provider-plan"}]}


def _elsewhere(affinity: dict[str, Any], node: str) -> dict[str, Any]:
    """The affinity, extended so that it excludes the node."""
    on_nodes = affinity.get("nodeAffinity") or {}
    terms: list[dict[str, Any]] | None = (on_nodes.get(REQUIRED) or {}).get("nodeSelectorTerms")
    other = {"key": "metadata.name", "operator": "NotIn", "values": [node]}
    # One matching term is enough, so each term has to exclude it. But an empty term matches no node, and must stay so.
    elsewhere = [
        term | {"matchFields": [*(term.get("matchFields") or ()), other]} if any(term.values()) else term
        for term in terms or ()
    ] or [{"matchFields": [other]}]
    return affinity | {"nodeAffinity": on_nodes | {REQUIRED: {"nodeSelectorTerms": elsewhere}}}


def _without_preemption(message: str) -> str:
    """The scheduler's message without its part about preemption: a shadow never preempts, but a pod may."""
    return message.partition(" preemption:")[0].rstrip(" ,.")
