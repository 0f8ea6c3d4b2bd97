"""Why a pod is where it is, what it waits for, and what happened to it: from objects of both clusters. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.kube.objects import Metadata, Node, Pod, fields, pod_phase
from vk_provider.sync.pods.events import MemberEvent
from vk_provider.translate.fits import obstacle
from vk_provider.translate.names import with_parent_names
from vk_provider.translate.pods.differences import Difference

PARENT: Final = "parent"
# Waiting reasons of containers whose cause is another line.
_SHOWN_ABOVE: Final = frozenset({"PodInitializing", wellknown.MEMBER_UNSCHEDULABLE})
_OF_CONTAINERS: Final = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
# Conditions that repeat the states of containers: they explain nothing, and are no part of the history.
_SUMMARIES: Final = frozenset({"Ready", "ContainersReady", "Initialized", "PodReadyToStartContainers"})


class Moment(msgspec.Struct):
    """Something that happened. `time` is RFC 3339, by the clock of `cluster`: parent, or the name of the member."""

    time: str
    cluster: str
    what: str
    message: str


class Explanation(msgspec.Struct, rename="camel"):
    """What `explain` shows. `node` and `member` are empty while the pod has no node, or one that is no virtual node."""

    namespace: str
    name: str
    phase: str
    node: str
    member: str
    why: list[str]
    waits_for: list[str]
    differences: list[Difference]
    history: list[Moment]
    warnings: list[str]


@dataclass(frozen=True)
class Seen:
    """What is known of a pod. `member`, `member_pod` and `member_events` are those of its virtual node, if it has one.

    `not_seen`: why the member could not be asked.
    """

    pod: Pod
    events: Sequence[MemberEvent] = ()
    nodes: Sequence[Node] = ()
    member: MemberCluster | None = None
    member_pod: Pod | None = None
    member_events: Sequence[MemberEvent] = ()
    differences: Sequence[Difference] = ()
    not_seen: str = ""

    @cached_property
    def spec(self) -> dict[str, Any]:
        """Of the pod."""
        return fields(self.pod.spec)


def explained(seen: Seen) -> Explanation:
    """The answer to: why is it here, what does it wait for, what is different in the member, what happened when?"""
    metadata = seen.pod.metadata
    return Explanation(
        namespace=metadata.namespace,
        name=metadata.name,
        phase=pod_phase(seen.pod).phase,
        node=seen.spec.get("nodeName", ""),
        member=seen.member.metadata.name if seen.member else "",
        why=list(_why(seen)),
        waits_for=list(_waits_for(seen)),
        differences=list(seen.differences),
        history=sorted(_history(seen), key=lambda moment: moment.time[:19]),  # only some have a fraction of a second
        warnings=[f"the member could not be asked: {seen.not_seen}"] if seen.not_seen else [],
    )


def _why(seen: Seen) -> Iterator[str]:
    node = seen.spec.get("nodeName", "")
    if node:
        yield f"it is bound to node {node} (schedulerName {seen.spec.get('schedulerName', 'default-scheduler')})"
    for other in sorted(seen.nodes, key=lambda each: each.metadata.name):
        if other.metadata.name != node:
            why_not = obstacle(seen.pod, other)
            yield f"{other.metadata.name}: {why_not or 'possible too, if it has enough free resources'}"


def _waits_for(seen: Seen) -> Iterator[str]:
    """From the first cause to the last; nothing if the pod has ended, or is Ready."""
    status, phase = fields(seen.pod.status), pod_phase(seen.pod)
    metadata = seen.pod.metadata
    if metadata.deletion_timestamp:
        grace = metadata.deletion_grace_period_seconds or 0
        finalizers = f"; finalizers: {', '.join(metadata.finalizers)}" if metadata.finalizers else ""
        yield f"its deletion: requested to be complete at {metadata.deletion_timestamp}, grace {grace} s{finalizers}"
    if phase.ended or (phase.has("Ready") and not metadata.deletion_timestamp):
        return
    if gates := [gate.get("name", "") for gate in seen.spec.get("schedulingGates") or ()]:
        yield f"scheduling gates: {', '.join(gates)}"
    for condition in phase.conditions:
        if condition.type in ("PodScheduled", wellknown.CREATED_CONDITION) and condition.status == "False":
            yield f"{condition.type}: {condition.reason}: {condition.message}"
    yield from _in_the_member(seen)
    for container in _containers(status):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting and waiting.get("reason") not in _SHOWN_ABOVE:
            yield f"container {container.get('name')}: {waiting.get('reason', '')}: {waiting.get('message', '')}"
    for gate in seen.spec.get("readinessGates") or ():
        if not phase.has(gate.get("conditionType", "")):
            yield f"readiness gate {gate.get('conditionType')}"
    for container in _containers(status):
        if "running" in container.get("state", {}) and not container.get("ready", True):
            yield f"container {container.get('name')}: it runs, and is not ready"


def _in_the_member(seen: Seen) -> Iterator[str]:
    if seen.member is None:
        return
    ready = seen.member.status.condition(wellknown.READY)
    if ready is not None and ready.status != "True":
        yield f"member {seen.member.metadata.name}: {ready.reason}: {ready.message}"
    if seen.not_seen:
        return
    if seen.member_pod is None:
        yield f"member {seen.member.metadata.name} has no pod for it yet"
        return
    for condition in pod_phase(seen.member_pod).conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"a node of member {seen.member.metadata.name}: {condition.reason}: {condition.message}"


def _containers(status: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for part in _OF_CONTAINERS:
        yield from status.get(part) or ()


def _history(seen: Seen) -> Iterator[Moment]:
    metadata = seen.pod.metadata
    yield Moment(metadata.creation_timestamp or "", PARENT, "Created", "")
    for condition in pod_phase(seen.pod).conditions:
        if condition.type not in _SUMMARIES and condition.last_transition_time:
            message = ": ".join(filter(None, (condition.reason, condition.message)))
            yield Moment(condition.last_transition_time, PARENT, f"{condition.type}={condition.status}", message)
    forwarded: set[str] = set()
    if seen.member is not None and seen.member_pod is not None:
        member, node = seen.member.metadata.name, seen.member.node_name
        yield Moment(seen.member_pod.metadata.creation_timestamp or "", member, "Created", _place(seen.member_pod))
        for event in seen.member_events:
            forwarded.add(event.for_parent(metadata, node).name)
            yield _moment(event, member, with_parent_names(event.message, metadata, seen.member_pod.metadata))
    for event in seen.events:
        if event.metadata.name not in forwarded:
            yield _moment(event, PARENT, event.message)
    yield from _ends(fields(seen.pod.status), seen.member.metadata.name if seen.member else PARENT)


def _place(member_pod: Pod) -> str:
    metadata: Metadata = member_pod.metadata
    node = fields(member_pod.spec).get("nodeName")
    return f"pod {metadata.key}" + (f", now on node {node}" if node else "")


def _moment(event: MemberEvent, cluster: str, message: str) -> Moment:
    last = (event.series.last_observed_time if event.series else event.last_timestamp) or event.event_time
    count = (event.series.count if event.series else event.count) or 1
    what = event.reason if count == 1 else f"{event.reason} (x{count})"
    return Moment(last or event.metadata.creation_timestamp or "", cluster, what, message)


def _ends(status: dict[str, Any], cluster: str) -> Iterator[Moment]:
    for container in _containers(status):
        for state in (container.get("lastState") or {}, container.get("state") or {}):
            if (ended := state.get("terminated")) and ended.get("finishedAt"):
                what = f"{ended.get('reason', 'Ended')}, exit code {ended.get('exitCode')}"
                yield Moment(ended["finishedAt"], cluster, "ContainerEnded", f"container {container['name']}: {what}")
