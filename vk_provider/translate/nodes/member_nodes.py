"""What is kept of the nodes of a member, and which of them can be used by the pods of the parent."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec

from vk_provider.api.membercluster import Toleration
from vk_provider.kube.objects import Condition, Metadata, Node
from vk_provider.translate.tolerations import tolerates

PRESSURES: Final = ("MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable")
KUBERNETES: Final = "node.kubernetes.io/"  # prefix of the taints that Kubernetes itself sets by the state of a node
_NODE_ROLE: Final = "node-role.kubernetes.io/"  # prefix of the taints that reserve a node, for the control plane
# Admission gives every pod that requests memory a toleration of it, and the virtual node has a condition for it.
_TOLERATED: Final = f"{KUBERNETES}memory-pressure"


class NodeTaint(msgspec.Struct, frozen=True, omit_defaults=True):
    """As in a Node's spec."""

    key: str
    effect: str = ""
    value: str = ""

    @property
    def hard(self) -> bool:
        """Whether it keeps pods away that do not tolerate it."""
        return self.effect != "PreferNoSchedule"


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False
    taints: list[NodeTaint] = []


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


_node_spec = msgspec.json.Decoder(_NodeSpec)
_node_status = msgspec.json.Decoder(_NodeStatus)


class MemberNode(msgspec.Struct, gc=False):
    """The cached part of a node of the member."""

    metadata: Metadata
    ready: bool
    cordoned: bool
    taints: list[NodeTaint]
    allocatable: dict[str, str]
    capacity: dict[str, str]
    pressures: frozenset[str]
    info: NodeInfo
    features: list[str]

    def same(self, other: MemberNode) -> bool:
        """Whether a virtual node depends on no difference: heartbeats and images of the node change all the time."""
        return _depends_on(self) == _depends_on(other)


def _depends_on(node: MemberNode) -> tuple[object, ...]:
    return (
        node.metadata.uid,
        node.metadata.labels,
        *(getattr(node, name) for name in MemberNode.__struct_fields__[1:]),
    )


def member_node(node: Node) -> MemberNode:
    """Reduces a node of the member to the parts that the virtual node depends on."""
    status, spec = _node_status.decode(node.status), _node_spec.decode(node.spec)
    true = {condition.type for condition in status.conditions if condition.status == "True"}
    return MemberNode(
        metadata=node.metadata,
        ready="Ready" in true,
        cordoned=spec.unschedulable,
        taints=spec.taints,
        allocatable=status.allocatable,
        capacity=status.capacity,
        pressures=frozenset(true & set(PRESSURES)),
        info=status.node_info,
        features=status.declared_features,
    )


def covers(toleration: Toleration, taint: NodeTaint) -> bool:
    """Whether a toleration of the MemberCluster tolerates a taint of a node."""
    return tolerates(toleration.of_pod, taint.key, taint.value, taint.effect)


def open_to_pods(
    nodes: Iterable[MemberNode], shown: Collection[NodeTaint], tolerations: Collection[Toleration]
) -> list[MemberNode]:
    """The nodes that are open to pods of the parent: Ready, not cordoned, and every taint that keeps pods away is shown
    on the virtual node (so only pods that tolerate it come) or covered by `spec.tolerations`.

    Taints of `node.kubernetes.io/` do not close a node: they go by themselves, see `has_room`.
    """

    def accepts(taint: NodeTaint) -> bool:
        accepted = not taint.hard or taint in shown or taint.key.startswith(KUBERNETES)
        return accepted or any(covers(toleration, taint) for toleration in tolerations)

    return [node for node in nodes if node.ready and not node.cordoned and all(map(accepts, node.taints))]


def has_room(node: MemberNode, tolerations: Collection[Toleration]) -> bool:
    """Whether Kubernetes keeps no pods away from the node now, such as under pressure, or a moment after its start."""
    return not any(
        taint.hard
        and taint.key.startswith(KUBERNETES)
        and taint.key != _TOLERATED
        and not any(covers(toleration, taint) for toleration in tolerations)
        for taint in node.taints
    )


def workers(nodes: Iterable[MemberNode]) -> list[MemberNode]:
    """The nodes that are not reserved for the control plane; all of them if there are no others."""
    every = list(nodes)
    found = [node for node in every if not any(t.hard and t.key.startswith(_NODE_ROLE) for t in node.taints)]
    return found or every
