"""A member cluster as one Node of the parent.

Allocatable is computed from scratch every time: the sum over the member's Ready, schedulable nodes, less the requests
of pods that are not ours, never below zero, capped by `spec.capacity`. Adding and subtracting as things change would
drift, and one wrong pod would stay wrong for ever.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.kube.objects import Condition, Metadata, Node, Pod, pod_phase
from vk_provider.translate.extended import is_extended
from vk_provider.translate.pods.decide import TERMINAL
from vk_provider.translate.quantity import parse, render

Resources = Mapping[str, Fraction]

PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
_HOSTNAME: Final = "kubernetes.io/hostname"
_ZONE: Final = "topology.kubernetes.io/zone"
_EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
_NODE_ROLE: Final = "node-role.kubernetes.io/"  # of labels and taints: the member's own affair
_WEBSOCKETS: Final = "ExtendWebSocketsToKubelet"
# Resources that are counted in bytes.
_BYTES: Final = ("memory", "ephemeral-storage", "hugepages-")


class _Taint(msgspec.Struct):
    key: str
    effect: str = ""


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[_Taint] = []

    @property
    def open(self) -> bool:
        """Whether pods may come: not cordoned, and not kept for the control plane."""
        return not self.unschedulable and not any(
            taint.key.startswith(_NODE_ROLE) and taint.effect != "PreferNoSchedule" for taint in self.taints
        )


class _NodeInfo(msgspec.Struct, rename="camel"):
    architecture: str = ""
    operating_system: str = ""
    kernel_version: str = ""
    os_image: str = ""
    kubelet_version: str = ""
    container_runtime_version: str = ""


class _NodeStatus(msgspec.Struct, rename="camel"):
    allocatable: dict[str, str] = {}
    capacity: dict[str, str] = {}
    conditions: list[Condition] = []
    declared_features: list[str] = []
    node_info: _NodeInfo = msgspec.field(default_factory=_NodeInfo)


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
    """What is kept of a node of the member. `usable`: Ready, not cordoned, not kept for the control plane."""

    metadata: Metadata
    usable: bool
    allocatable: dict[str, str]
    capacity: dict[str, str]
    pressures: frozenset[str]
    info: _NodeInfo
    features: list[str]


class Usage(msgspec.Struct, gc=False):
    """What is kept of a pod of the member that is not ours: where it runs and what it asks for."""

    metadata: Metadata
    node: str
    requests: dict[str, Fraction]


def member_node(node: Node) -> MemberNode:
    """Shrinks a node of the member to what its virtual node is made of."""
    status = _node_status.decode(node.status)
    true = {condition.type for condition in status.conditions if condition.status == "True"}
    return MemberNode(
        metadata=node.metadata,
        usable="Ready" in true and _node_spec.decode(node.spec).open,
        allocatable=status.allocatable,
        capacity=status.capacity,
        pressures=frozenset(true & set(PRESSURES)),
        info=status.node_info,
        features=status.declared_features,
    )


def usage(pod: Pod) -> Usage:
    """Shrinks a pod to its place and its requests; a finished pod asks for nothing."""
    spec = _pod_spec.decode(pod.spec)
    bare = Metadata(
        name=pod.metadata.name, namespace=pod.metadata.namespace, resource_version=pod.metadata.resource_version
    )
    finished = pod_phase(pod).phase in TERMINAL
    return Usage(bare, spec.node_name, {} if finished else pod_requests(spec))


def pod_requests(spec: _PodSpec) -> dict[str, Fraction]:
    """Effective requests, as the scheduler counts them.

    The containers and sidecars together, or the largest init container with the sidecars started before it, whichever
    is more; pod-level requests override; overhead on top; and one pod.
    (https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers)
    """
    running = total(_parsed(container.resources.requests) for container in spec.containers)
    sidecars: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in spec.init_containers:
        asked = _parsed(container.resources.requests)
        if container.restart_policy == "Always":
            sidecars = total((sidecars, asked))
            peak = _largest(peak, sidecars)
        else:
            peak = _largest(peak, total((sidecars, asked)))
    found = _largest(total((running, sidecars)), peak) | _parsed(spec.resources.requests)
    return total((found, _parsed(spec.overhead), {"pods": Fraction(1)}))


def total(parts: Iterable[Resources]) -> dict[str, Fraction]:
    """Sum by resource name."""
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
    """What the virtual node has: quantities as Kubernetes writes them."""

    capacity: dict[str, str] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)

    def only(self, names: Collection[str] | None) -> Offer:
        """The part that is of these resources; None: of all that Kubernetes itself knows."""

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
    # A member without nodes (one that scales from zero) offers what its owner promises.
    if not every:
        capacity, free = dict(limits), dict(limits)
    # What only unusable nodes have is none for now, not unknown.
    nothing = {name: Fraction(0) for node in every for name in node.allocatable}
    capacity, free = nothing | capacity, nothing | free

    def written(values: Resources) -> dict[str, str]:
        capped = {name: min(value, limits.get(name, value)) for name, value in values.items()}
        return {
            name: render(max(Fraction(0), value), binary=name.startswith(_BYTES))
            for name, value in sorted(capped.items())
        }

    return Offer(written(capacity), written(free))


def labels(cluster: MemberCluster, nodes: Iterable[MemberNode]) -> dict[str, str]:
    """Labels of the virtual node: what all nodes of the member agree on, then the wishes, then what must be."""
    common: dict[str, str] | None = None
    for node in nodes:
        mine = node.metadata.labels
        common = dict(mine) if common is None else {k: v for k, v in common.items() if mine.get(k) == v}
    agreed = {key: value for key, value in (common or {}).items() if not key.startswith(_NODE_ROLE)}
    agreed.setdefault(_ZONE, cluster.metadata.name)
    # Without a node to ask, Linux is the safe answer: charts select on it.
    agreed.setdefault("kubernetes.io/os", "linux")
    return (
        agreed
        | cluster.spec.labels
        | {
            wellknown.CLUSTER_LABEL: cluster.metadata.name,
            _HOSTNAME: cluster.node_name,
            "type": "virtual-kubelet",
            _EXCLUDED: "true",
        }
    )


def conditions(nodes: Iterable[MemberNode]) -> list[dict[str, str]]:
    """Pressure conditions without times: True only where every usable node has it, else the rest takes the pods."""
    usable = [node for node in nodes if node.usable]
    found = []
    for kind in PRESSURES:
        under = bool(usable) and all(kind in node.pressures for node in usable)
        reason = f"AllMemberNodesHave{kind}" if under else f"MemberHasNo{kind}"
        message = "every usable node of the member reports it" if under else "the member has nodes without it"
        found.append({"type": kind, "status": "True" if under else "False", "reason": reason, "message": message})
    return found


def declared_features(nodes: Iterable[MemberNode], version: str, *, served: bool) -> list[str]:
    """`status.declaredFeatures`: what some usable node of the member can do, for its scheduler finds that node.

    Without it, pods that need such a feature cannot be scheduled to the virtual node. What a kubelet API does is our
    own to say: `served` is whether ours is, `version` that of the member's API server, which answers behind it.
    """
    found = {feature for node in nodes if node.usable for feature in node.features} - {_WEBSOCKETS}
    # Declared, kube-apiserver hands WebSockets on as they are; members before 1.31 do not speak that protocol version.
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if served and match and (int(match[1]), int(match[2])) >= (1, 31):
        found.add(_WEBSOCKETS)
    return sorted(found)


def node_info(nodes: Iterable[MemberNode], version: str, own_version: str) -> dict[str, str]:
    """`status.nodeInfo`: what the usable nodes agree on; `version` is that of the member's API server."""
    infos = [node.info for node in nodes if node.usable]

    def agreed(name: str, otherwise: str) -> str:
        values = {getattr(info, name) for info in infos}
        return values.pop() if len(values) == 1 else otherwise

    return {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": agreed("kernel_version", ""),
        "osImage": f"vk-provider {own_version}",
        "containerRuntimeVersion": agreed("container_runtime_version", "vk-provider://" + own_version),
        "kubeletVersion": version,
        "kubeProxyVersion": "",
        "operatingSystem": agreed("operating_system", "linux") or "linux",
        "architecture": agreed("architecture", "") or "amd64",
    }
