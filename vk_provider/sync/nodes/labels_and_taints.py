"""Registers the Node of a virtual node, and keeps its labels and taints as they should be.

Owns our labels and taints. Those of others, and a cordon, stay. An annotation of the Node records what is ours, so that
it can be removed later. The Node of a member that leaves (see membership/leave) is cordoned and tainted NoExecute as
long as it exists, also if another client deletes it meanwhile. Lifts a fence when the member answers: first the taint,
then the annotation of the MemberCluster.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from functools import partial
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.errors import ConfigError, ConflictError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, PartialObject
from vk_provider.kube.resources import NODES
from vk_provider.observable import Observable
from vk_provider.sync.node_edit import NodeEdit, Taint, edit_node
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.offer import MemberNode, Offer
from vk_provider.translate.nodes.status import labels
from vk_provider.translate.state.health import State

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 10  # at a Node that another client deletes while it is being registered


class NodeRecord(msgspec.Struct):
    """What of the Node is ours, as its annotation records. `resources` is None if nothing was recorded yet."""

    labels: list[str] = []
    taints: list[tuple[str, str]] = []
    resources: list[str] | None = None

    @classmethod
    def of(cls, node: Node) -> NodeRecord:
        """The record of a Node; an empty one if it is damaged, in which case it is written again."""
        try:
            return msgspec.json.decode(node.metadata.annotations.get(wellknown.METADATA_KEYS, "{}"), type=cls)
        except msgspec.DecodeError:
            return cls()


class _Resources(msgspec.Struct):
    allocatable: dict[str, str] = {}
    capacity: dict[str, str] = {}


def offer_of(node: Node) -> Offer:
    """The resources in a Node's status that are ours; others belong to another client."""
    status = msgspec.json.decode(node.status, type=_Resources)
    return Offer(status.capacity, status.allocatable).only(NodeRecord.of(node).resources)


class LabelsAndTaints:
    """See the module's text. Used by the node's status loop only, one call at a time."""

    def __init__(
        self,
        name: str,
        cluster: Observable[MemberCluster],
        parent: Client,
        member_nodes: Informer[MemberNode],
        state: MemberState,
    ) -> None:
        """`name` is that of the virtual node."""
        self._name, self._cluster, self._parent = name, cluster, parent
        self._member_nodes, self._state = member_nodes, state
        self._known: set[str] = set()  # resources that the member's nodes have or had
        self._written: Any = None  # what was written last: labels, taints, whether a fence is lifted, resources
        self.uid = ""  # of the Node, once it is registered
        member_nodes.on_change(lambda _before, after: self._add_resources(after))

    @property
    def known_resources(self) -> Set[str]:
        """Resources that nodes of the member have or had, and those of `spec.capacity`; others are not ours."""
        return self._known | self._cluster.value.spec.capacity.keys()

    async def register(self) -> Node:
        """Creates the Node, or adopts the one that is there; returns it as it was then.

        Raises ConfigError (NodeNameTaken) if a Node of that name stands for something else.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return await self._register()
            except (NotFoundError, ConflictError):
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def refresh(self) -> None:
        """Writes labels and taints if they are no longer what they should be, and which resources are ours.

        The record of the resources is written before the status first has them.
        """
        if self._written != self._wanted():
            await self._write()

    async def _register(self) -> Node:
        member = self._cluster.value.metadata.name
        try:
            node = await self._parent.get(NODES, self._name, type=Node)
        except NotFoundError:
            node = await self._create()
        if node.metadata.labels.get(wellknown.CLUSTER_LABEL) != member:
            raise ConfigError(
                f"the parent has a node {self._name} that does not stand for member {member}",
                reason="NodeNameTaken",
                remedy="join the member with another --node-name",
            )
        self.uid = node.metadata.uid
        self._known |= offer_of(node).capacity.keys() | set(NodeRecord.of(node).resources or ())
        await self._write()
        return node

    async def _create(self) -> Node:
        wanted = self._labels()
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self._name,
                "labels": wanted,
                "annotations": {wellknown.METADATA_KEYS: self._record(wanted)},
            },
            "spec": {"taints": self._taints(), **self._cordon()},
        }
        node = await self._parent.create(NODES, body, type=Node)
        log.info("virtual node registered", extra={"node": self._name})
        return node

    async def _write(self) -> None:
        wanted = self._wanted()
        lifts_fence = self._lifts_fence()
        await edit_node(self._parent, self._name, partial(self._edit, lifts_fence))
        if lifts_fence:
            await self._remove_fence()
        self._written = wanted

    def _edit(self, lifts_fence: bool, node: Node, taints: list[Taint]) -> NodeEdit:
        record, wanted, wanted_taints = NodeRecord.of(node), self._labels(), self._taints()
        ours = {(taint["key"], taint["effect"]) for taint in wanted_taints}
        replaced = ours | set(record.taints)
        if lifts_fence:
            replaced.add((wellknown.OUT_OF_SERVICE_TAINT, "NoExecute"))
        kept = [taint for taint in taints if (taint["key"], taint["effect"]) not in replaced]
        metadata = {
            "labels": {**wanted, **{key: None for key in record.labels if key not in wanted}},
            "annotations": {wellknown.METADATA_KEYS: self._record(wanted, sorted(ours))},
        }
        return NodeEdit(kept + wanted_taints, metadata, self._cordon())

    def _wanted(self) -> Any:
        return self._labels(), self._taints(), self._lifts_fence(), set(self.known_resources)

    def _labels(self) -> dict[str, str]:
        return labels(self._cluster.value, self._name, self._member_nodes.items.values())

    def _taints(self) -> list[Taint]:
        wanted: list[Taint] = [msgspec.to_builtins(taint) for taint in self._cluster.value.spec.taints]
        if self._state.health.suspended:
            wanted.append({"key": wellknown.SUSPECT_TAINT, "effect": "NoSchedule"})
        if self._state.leaving:
            wanted.append({"key": wellknown.LEAVING_TAINT, "effect": "NoExecute"})
        return wanted

    def _cordon(self) -> dict[str, bool]:
        """Only a member that leaves is cordoned from here; it never returns."""
        return {"unschedulable": True} if self._state.leaving else {}

    def _record(self, wanted: dict[str, str], taints: Sequence[tuple[str, str]] = ()) -> str:
        record = NodeRecord(sorted(wanted), list(taints), sorted(self.known_resources))
        return msgspec.json.encode(record).decode()

    def _lifts_fence(self) -> bool:
        """Whether the member is fenced, and answers."""
        return self._state.fenced and self._state.health.state in (State.RETURNING, State.HEALTHY)

    async def _remove_fence(self) -> None:
        metadata = self._cluster.value.metadata
        body = {"metadata": {"uid": metadata.uid, "annotations": {wellknown.FENCED: None, wellknown.FENCED_PODS: None}}}
        await self._parent.patch(MEMBER_CLUSTERS, metadata.name, body, type=PartialObject)
        log.info("fence lifted", extra={"node": self._name})

    def _add_resources(self, node: MemberNode | None) -> None:
        if node is not None:
            self._known |= node.capacity.keys() | node.allocatable.keys()
