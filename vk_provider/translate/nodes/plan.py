"""A plan of a failover: what is asked of the parent's scheduler about a pod, and what the answer means.

    a pod on the node -+- finished, going, or a DaemonSet's        not at issue
                       +- held, or tolerating the loss for ever    Stays
                       +- without a controller                     Ends
                       +- else its shadow is asked about -+- bound                 Moves, or Waits for a fence
                                                          +- unschedulable         Cannot
                                                          +- not taken by the API  Refused
                                                          +- no answer             Unknown

A shadow has everything of the pod that the scheduler or an admission looks at, and nothing with which it could run: its
image has no registry, and a ConfigMap that never exists stands before a kubelet's first sandbox. Why it is as it is:
docs/decisions/0020-plan-failover.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod, PodPhase, pod_phase
from vk_provider.kube.resources import PRIORITY_CLASSES
from vk_provider.translate.pods.decide import TERMINAL

PRIORITY: Final = -1_000_000_000  # below all others: a shadow makes way for real pods, and no autoscaler heeds it
HOLD: Final = "Hold"
_IMAGE: Final = "vk-provider.invalid/plan:never"  # no such domain can exist: RFC 2606
_NOT_READY: Final = "node.kubernetes.io/not-ready"
_SAME_NAME: Final = "StatefulSet"  # makes the new pod under the name of the old one, so only when that is gone
_LEFT_OUT: Final = frozenset(
    {
        "nodeName",
        "priority",
        "priorityClassName",
        "preemptionPolicy",
        "overhead",  # admission derives it from the RuntimeClass, and refuses another one
        "ephemeralContainers",  # not in a create
        "imagePullSecrets",
        "hostname",
        "subdomain",
        "schedulingGroup",  # a gang is complete without shadows
    }
)
_LEFT_OUT_OF_CONTAINERS: Final = frozenset({"env", "envFrom", "volumeDevices"})


class Outcome(StrEnum):
    """What would become of one pod."""

    MOVES = "Moves"
    WAITS = "Waits"  # there is room, but the old pod must be gone first, which takes a fence
    CANNOT = "Cannot"  # no node takes it
    REFUSED = "Refused"  # the API server did not take the shadow: quota, admission, rights
    UNKNOWN = "Unknown"  # the scheduler did not decide
    ENDS = "Ends"  # nobody makes it anew
    STAYS = "Stays"  # as it wants


@dataclass(frozen=True)
class Verdict:
    """`node` is where it would go."""

    outcome: Outcome
    node: str = ""
    message: str = ""


@dataclass(frozen=True)
class Plan:
    """One run of the command, for the loss of `node`; `owner_uid` is that of its PriorityClass."""

    id: str
    node: str
    owner_uid: str = ""

    @property
    def name(self) -> str:
        """Of the PriorityClass, and of the ConfigMap that never is."""
        return f"vk-provider-plan-{self.id}"

    @property
    def selector(self) -> str:
        """Of its shadows."""
        return f"{wellknown.PLAN}={self.id}"


class _Owner(msgspec.Struct):
    kind: str
    name: str
    controller: bool = False


class _Metadata(msgspec.Struct, rename="camel"):
    name: str
    namespace: str
    uid: str
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None
    owner_references: list[_Owner] = []


class Planned(msgspec.Struct):
    """A pod of the node, as a plan looks at it."""

    metadata: _Metadata
    spec: dict[str, Any]
    status: PodPhase = msgspec.field(default_factory=PodPhase)

    @property
    def controller(self) -> _Owner | None:
        """Who makes it anew."""
        return next((owner for owner in self.metadata.owner_references if owner.controller), None)

    @property
    def priority(self) -> int:
        """Replacements of a higher one get room first."""
        return int(self.spec.get("priority") or 0)


def is_at_issue(pod: Planned) -> bool:
    """Whether the loss of the node would mean anything for this pod."""
    metadata, controller = pod.metadata, pod.controller
    return (
        pod.status.phase not in TERMINAL
        and metadata.deletion_timestamp is None
        and wellknown.PLAN not in metadata.labels
        and (controller is None or controller.kind != "DaemonSet")
    )


def foregone(pod: Planned) -> Verdict | None:
    """The verdict that needs no scheduler; None where it has to be asked."""
    if pod.metadata.annotations.get(wellknown.ON_LOST) == HOLD:
        return Verdict(Outcome.STAYS, message=f"annotated {wellknown.ON_LOST}: {HOLD}")
    if eviction_seconds(pod) is None:
        return Verdict(Outcome.STAYS, message=f"tolerates {_NOT_READY} without end")
    if pod.controller is None:
        return Verdict(Outcome.ENDS, message="has no controller that would make it anew")
    return None


def eviction_seconds(pod: Planned) -> int | None:
    """Seconds from "the node is not ready" to the eviction; None for never. The first toleration that fits counts.

    (k8s.io/kubernetes/pkg/controller/tainteviction)
    """
    for toleration in pod.spec.get("tolerations") or ():
        if _tolerates_loss(toleration):
            seconds = toleration.get("tolerationSeconds")
            return None if seconds is None else max(0, int(seconds))
    return 0


def shadow(pod: Planned, name: str, plan: Plan) -> dict[str, Any]:
    """The manifest of the pod's shadow."""
    spec = {key: value for key, value in pod.spec.items() if key not in _LEFT_OUT}
    for kind in ("initContainers", "containers"):
        if kind in spec:
            spec[kind] = [_container(container, plan) for container in spec[kind]]
    claims = [volume for volume in spec.get("volumes") or () if "persistentVolumeClaim" in volume]
    spec["volumes"] = [*claims, {"name": plan.name, "configMap": {"name": plan.name}}]
    spec["affinity"] = _elsewhere(spec.get("affinity") or {}, plan.node)
    spec["priorityClassName"] = plan.name
    spec["automountServiceAccountToken"] = False
    spec["terminationGracePeriodSeconds"] = 0  # whoever deletes it, no kubelet has to confirm that it ended
    owner = {
        "apiVersion": PRIORITY_CLASSES.api_version,
        "kind": PRIORITY_CLASSES.kind,
        "name": plan.name,
        "uid": plan.owner_uid,
        "controller": True,  # else the ReplicaSet whose labels it has would adopt it
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
    """What the scheduler has said about a shadow; None where it has not decided yet."""
    if node := msgspec.json.decode(found.spec, type=_Bound).node_name:
        return Verdict(Outcome.MOVES, node)
    for condition in pod_phase(found).conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            if condition.reason == "Unschedulable":
                return Verdict(Outcome.CANNOT, message=_own_words(condition.message))
            if condition.reason == "SchedulingGated":
                return Verdict(Outcome.UNKNOWN, message="something holds it back with a scheduling gate")
    return None


def concluded(pod: Planned, verdict: Verdict) -> Verdict:
    """The verdict on the pod, given that on its shadow."""
    controller = pod.controller
    if verdict.outcome is Outcome.MOVES and controller is not None and controller.kind == _SAME_NAME:
        return replace(
            verdict,
            outcome=Outcome.WAITS,
            message=f"{controller.kind} {controller.name} waits until the old pod is gone: that takes a fence",
        )
    return verdict


class _Constraint(msgspec.Struct, rename="camel"):
    topology_key: str
    when_unsatisfiable: str = ""
    node_taints_policy: str = ""


class _Spread(msgspec.Struct, rename="camel"):
    topology_spread_constraints: list[_Constraint] = []


def reservations(pod: Planned, created: Pod | None, verdict: Verdict) -> list[str]:
    """What a plan cannot know, where it matters for this pod. `created` is the shadow as admission has left it."""
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


def _tolerates_loss(toleration: dict[str, Any]) -> bool:
    if toleration.get("effect") not in (None, "", "NoExecute"):
        return False
    exists = toleration.get("operator") == "Exists"
    key = toleration.get("key") or ""
    return (exists and not key) or (key == _NOT_READY and (exists or not toleration.get("value")))


def _container(container: dict[str, Any], plan: Plan) -> dict[str, Any]:
    kept = {key: value for key, value in container.items() if key not in _LEFT_OUT_OF_CONTAINERS}
    # A kubelet mounts what a container mounts, and no more: the claims stay unmounted, the ConfigMap is waited for.
    return kept | {"image": _IMAGE, "volumeMounts": [{"name": plan.name, "mountPath": "/vk-provider-plan"}]}


def _elsewhere(affinity: dict[str, Any], node: str) -> dict[str, Any]:
    """The affinity, and not on this node."""
    required = "requiredDuringSchedulingIgnoredDuringExecution"
    on_nodes = affinity.get("nodeAffinity") or {}
    terms: list[dict[str, Any]] | None = (on_nodes.get(required) or {}).get("nodeSelectorTerms")
    other = {"key": "metadata.name", "operator": "NotIn", "values": [node]}
    # One term that fits is enough, so each has to say it; but an empty one fits no node, and would then fit all.
    said = [
        term | {"matchFields": [*(term.get("matchFields") or ()), other]} if any(term.values()) else term
        for term in terms or ()
    ] or [{"matchFields": [other]}]
    return affinity | {"nodeAffinity": on_nodes | {required: {"nodeSelectorTerms": said}}}


def _own_words(message: str) -> str:
    """Without what the scheduler says of preemption: a shadow never preempts, and a pod might."""
    return message.partition(" preemption:")[0].rstrip(" ,.")
