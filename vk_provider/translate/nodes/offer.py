"""The resources that a virtual node offers, computed from the nodes and pods of its member.

    allocatable = sum over the usable nodes - requests of pods that are not ours, at least 0, at most spec.capacity

The sum is computed from scratch every time. Adding and subtracting changes would drift, and one error would persist.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import msgspec

from vk_provider.kube.objects import Condition, Metadata, Node, Pod, pod_phase
from vk_provider.translate.extended import is_extended
from vk_provider.translate.quantity import parse, render

Resources = Mapping[str, Fraction]

PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
NODE_ROLE: Final = "node-role.kubernetes.io/"  # prefix of labels and taints that concern the member only
# Resources that are counted in bytes.
_BYTES: Final = ("memory", "ephemeral-storage", "hugepages-")


class _Taint(msgspec.Struct):
    key: str
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[_Taint] = []

    @property
    def schedulable(self) -> bool:
        """Whether it accepts ordinary pods: not cordoned, and not reserved for the control plane."""
        return not self.unschedulable and not any(
            taint.key.startswith(NODE_ROLE) and taint.effect != "PreferNoSchedule" for taint in self.taints
        )


class NodeInfo(msgspec.Struct, rename="camel"):
    """The part of `status.nodeInfo` that a virtual node shows if all nodes agree on it."""

    architecture: str = ""
    operating_system: str = ""
    kernel_version: str = ""
    container_runtime_version: str = ""


class _NodeStatus(msgspec.Struct, rename="camel"):
    allocatable: dict[str, str] = {}
    capacity: dict[str, str] = {}
    conditions: list[Condition] = []
    declared_features: list[str] = []
    node_info: NodeInfo = msgspec.field(default_factory=NodeInfo)


class _Requests(msgspec.Struct):
    requests: dict[str, str | int | float] = {}


class _Container(msgspec.Struct, rename="camel"):
    resources: _Requests = msgspec.field(default_factory=_Requests)
    restart_policy: str = ""


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    containers: list[_Container] = []
    init_containers: list[_Container] = []
    overhead: dict[str, str | int | float] = {}
    resources: _Requests = msgspec.field(default_factory=_Requests)


_node_spec = msgspec.json.Decoder(_NodeSpec)
_node_status = msgspec.json.Decoder(_NodeStatus)
_pod_spec = msgspec.json.Decoder(_PodSpec)


class MemberNode(msgspec.Struct, gc=False):
    """The cached part of a node of the member. `usable`: Ready, not cordoned, not reserved for the control plane."""

    metadata: Metadata
    usable: bool
    allocatable: dict[str, str]
    capacity: dict[str, str]
    pressures: frozenset[str]
    info: NodeInfo
    features: list[str]


class Usage(msgspec.Struct, gc=False):
    """The cached part of a pod of the member that is not ours: its node and its requests."""

    metadata: Metadata
    node: str
    requests: dict[str, Fraction]


def member_node(node: Node) -> MemberNode:
    """Reduces a node of the member to the parts that the virtual node depends on."""
    status = _node_status.decode(node.status)
    true = {condition.type for condition in status.conditions if condition.status == "True"}
    return MemberNode(
        metadata=node.metadata,
        usable="Ready" in true and _node_spec.decode(node.spec).schedulable,
        allocatable=status.allocatable,
        capacity=status.capacity,
        pressures=frozenset(true & set(PRESSURES)),
        info=status.node_info,
        features=status.declared_features,
    )


def usage(pod: Pod) -> Usage:
    """Reduces a pod to its node and its requests. A pod that has ended requests nothing."""
    spec = _pod_spec.decode(pod.spec)
    bare = Metadata(
        name=pod.metadata.name, namespace=pod.metadata.namespace, resource_version=pod.metadata.resource_version
    )
    return Usage(bare, spec.node_name, {} if pod_phase(pod).ended else pod_requests(spec))


def pod_requests(spec: _PodSpec) -> dict[str, Fraction]:
    """Effective requests of a pod, as the scheduler computes them.

    The larger of two sums: containers and sidecars; or one init container and the sidecars that start before it.
    Pod-level requests override this. Overhead is added, and one pod.
    (https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers)
    """
    running = total(_parsed(container.resources.requests) for container in spec.containers)
    sidecars: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in spec.init_containers:
        requests = _parsed(container.resources.requests)
        if container.restart_policy == "Always":
            sidecars = total((sidecars, requests))
            peak = _largest(peak, sidecars)
        else:
            peak = _largest(peak, total((sidecars, requests)))
    found = _largest(total((running, sidecars)), peak) | _parsed(spec.resources.requests)
    return total((found, _parsed(spec.overhead), {"pods": Fraction(1)}))


def total(parts: Iterable[Resources]) -> dict[str, Fraction]:
    """The sum for each resource."""
    found: dict[str, Fraction] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, Fraction(0)) + value
    return found


def _largest(one: Resources, other: Resources) -> dict[str, Fraction]:
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in one.keys() | other.keys()}


def _parsed(quantities: Mapping[str, str | int | float]) -> dict[str, Fraction]:
    return {name: parse(value) for name, value in quantities.items()}


@dataclass(frozen=True)
class Offer:
    """The resources of a virtual node, as quantities in Kubernetes' notation."""

    capacity: dict[str, str] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)

    def only(self, names: Collection[str] | None) -> Offer:
        """The part with these resources; None: with all resources that are not extended ones."""

        def part(values: dict[str, str]) -> dict[str, str]:
            return {k: v for k, v in values.items() if (not is_extended(k) if names is None else k in names)}

        return Offer(part(self.capacity), part(self.allocatable))


def offer(nodes: Iterable[MemberNode], others: Iterable[Usage], caps: Mapping[str, str | int]) -> Offer:
    """Capacity and allocatable of the virtual node. `others` are the pods of the member that are not ours."""
    every = list(nodes)
    usable = {node.metadata.name: node for node in every if node.usable}
    limits = _parsed(caps)
    capacity = total(_parsed(node.capacity) for node in usable.values())
    free = total(_parsed(node.allocatable) for node in usable.values())
    for name, used in total(pod.requests for pod in others if pod.node in usable).items():
        if name in free:
            free[name] -= used
    # A member without nodes (one that scales from zero) offers spec.capacity.
    if not every:
        capacity, free = dict(limits), dict(limits)
    # A resource that only unusable nodes have is 0 for now, not unknown.
    nothing = {name: Fraction(0) for node in every for name in node.allocatable}
    capacity, free = nothing | capacity, nothing | free

    def rendered(values: Resources) -> dict[str, str]:
        capped = {name: min(value, limits.get(name, value)) for name, value in values.items()}
        return {
            name: render(max(Fraction(0), value), binary=name.startswith(_BYTES))
            for name, value in sorted(capped.items())
        }

    return Offer(rendered(capacity), rendered(free))
