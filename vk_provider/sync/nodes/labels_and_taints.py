"""Creates the Node of a virtual node, and keeps its labels, taints and provider ID as they should be.

Owns our labels and taints. Those of others, and a cordon, stay. An annotation of the Node records what is ours, so that
it can be removed later, and restored if another client removes it. The Node of a member that leaves (see
membership/leave) is cordoned and tainted NoExecute as long as it exists, also if another client deletes it meanwhile.
Lifts a fence when the member answers: first the taint, then the annotation of the MemberCluster. A part that the parent
refuses costs only that part.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Set
from functools import partial
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.errors import ConfigError, ConflictError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, PartialObject, Pod, fields
from vk_provider.kube.resources import NODES
from vk_provider.observable import Observable
from vk_provider.sync.node_edit import NodeEdit, Taint, edit_node
from vk_provider.sync.nodes.refusals import REFUSED, Refusals
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.extended import requested
from vk_provider.translate.nodes.labels import labels
from vk_provider.translate.nodes.member_nodes import MemberNode, NodeTaint
from vk_provider.translate.nodes.record import NodeRecord, offer_of, stands_for
from vk_provider.translate.nodes.taints import added_tolerations
from vk_provider.translate.nodes.wanted import Wanted, health_taints
from vk_provider.translate.state.health import State

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 10  # at a Node that another client deletes and creates while it is being created
_LABELS, _TAINTS, _PROVIDER_ID = "labels", "taints", "providerID"
_HEALTH: Final = "taints of the member's health"  # the part of the taints that does not depend on users
_HEALTH_KEYS: Final = (wellknown.SUSPECT_TAINT, wellknown.LEAVING_TAINT)


class LabelsAndTaints:
    """See the module's text. Used by the node's status loop only, one call at a time."""

    def __init__(
        self,
        name: str,
        cluster: Observable[MemberCluster],
        parent: Client,
        virtual_nodes: Informer[Node],
        member_nodes: Informer[MemberNode],
        state: MemberState,
    ) -> None:
        """`name` is that of the virtual node; `virtual_nodes` are the Nodes of all members in the parent."""
        self._name, self._cluster, self._parent = name, cluster, parent
        self._virtual_nodes, self._member_nodes, self._state = virtual_nodes, member_nodes, state
        self._known: set[str] = set()  # resources that the member's nodes have or had
        self._refusals = Refusals()
        self.uid = ""  # of the Node, once it exists
        member_nodes.on_change(lambda _before, after: self._add_resources(after))

    @property
    def known_resources(self) -> Set[str]:
        """Resources that nodes of the member have or had, and those of `spec.capacity`; others are not ours."""
        return self._known | self._cluster.value.spec.capacity.keys()

    def tolerations(self, pod: Pod) -> list[dict[str, str]]:
        """What the member pod of this parent pod tolerates in addition (`spec.tolerations`)."""
        tolerations = self._cluster.value.spec.tolerations
        if not tolerations:
            return []
        return added_tolerations(requested(pod), tolerations, self._member_nodes.items.values())

    @property
    def exists(self) -> bool:
        """Whether the Node was there when it was observed last."""
        node = self._virtual_nodes.items.get(self._name)
        return node is not None and bool(self.uid) and node.metadata.uid == self.uid

    async def adopt(self) -> Node | None:
        """The Node as it is in the parent; None: there is none.

        Raises ConfigError (NodeNameTaken) if a Node of that name stands for something else.
        """
        try:
            node = await self._parent.get(NODES, self._name, type=Node)
        except NotFoundError:
            return None
        member = self._cluster.value.metadata.name
        if node.metadata.uid != self.uid and not stands_for(node, member):
            raise ConfigError(
                f"the parent has a node {self._name} that does not stand for member {member}",
                reason="NodeNameTaken",
                remedy="join the member with another --node-name",
            )
        self.uid = node.metadata.uid
        self._known |= offer_of(node).capacity.keys() | set(NodeRecord.of(node).resources or ())
        self._virtual_nodes.observe(node)
        return node

    async def create(self, wanted: Wanted, status: dict[str, Any]) -> Node:
        """Creates the Node complete with its status, as a kubelet does: it is never there without a Ready condition.

        Returns the one that is there if another client has created it meanwhile. Raises as `adopt`.
        """
        for _ in range(_ATTEMPTS):
            try:
                node = await self._post(wanted, status)
            except ConflictError:
                if found := await self.adopt():
                    return found
                continue
            self.uid = node.metadata.uid
            self._virtual_nodes.observe(node)
            log.info("virtual node registered", extra={"node": self._name})
            return node
        raise ConflictError(409, "Conflict", f"node {self._name} is created and deleted by another client")

    async def write(self, wanted: Wanted) -> list[str]:
        """Writes what is not as it should be, and returns what the parent refuses. Raises the other errors of the
        parent: NotFoundError and ConflictError if the Node is gone or another one.

        The record of the resources is written before the status first has them.
        """
        now, lifts_fence = asyncio.get_running_loop().time(), self._lifts_fence()
        contents: dict[str, Any] = {
            _LABELS: wanted.labels,
            _TAINTS: (wanted.taints, self._health_taints(), lifts_fence),
            _PROVIDER_ID: self._cluster.value.spec.provider_id,
        }
        parts = {part for part, content in contents.items() if not self._refusals.holds(part, content, now)}
        try:
            await self._apply(wanted, parts)
        except REFUSED as error:
            log.debug("labels and taints not written", extra={"node": self._name, "error": str(error)})
            for part in sorted(parts):
                try:
                    await self._apply(wanted, {part})
                    self._refusals.accepted(part)
                except REFUSED as refusal:
                    self._refusals.note(part, contents[part], now, refusal)
        else:
            for part in parts:
                self._refusals.accepted(part)
        try:
            if self._refusals.holds(_TAINTS, contents[_TAINTS], now):
                await self._apply(wanted, {_HEALTH})
        except REFUSED:
            return self._refusals.messages
        if lifts_fence:
            await self._remove_fence()
        return self._refusals.messages

    async def _post(self, wanted: Wanted, status: dict[str, Any]) -> Node:
        health = self._health_taints()
        spec: dict[str, Any] = {"taints": _in_spec([*wanted.taints, *health])}
        if provider_id := self._cluster.value.spec.provider_id:
            spec["providerID"] = provider_id
        if self._state.leaving:
            spec["unschedulable"] = True
        try:
            return await self._parent.create(NODES, self._body(wanted.labels, spec, status), type=Node)
        except REFUSED:  # the parts follow one by one
            bare = {"conditions": status["conditions"], "addresses": status["addresses"]}
            spec = {"taints": _in_spec(health), "unschedulable": self._state.leaving}
            return await self._parent.create(NODES, self._body(self._own_labels(), spec, bare), type=Node)

    def _body(self, own: dict[str, str], spec: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
        record = self._record(NodeRecord(sorted(own), _keys(spec["taints"])))
        metadata = {"name": self._name, "labels": own, "annotations": {wellknown.METADATA_KEYS: record}}
        return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec, "status": status}

    def _own_labels(self) -> dict[str, str]:
        cluster = self._cluster.value
        bare = msgspec.structs.replace(cluster, spec=msgspec.structs.replace(cluster.spec, labels={}))
        return labels(bare, self._name, {})

    async def _apply(self, wanted: Wanted, parts: Set[str]) -> None:
        """Writes these parts if they differ."""
        edit = partial(self._edit, wanted, parts)
        node = self._virtual_nodes.items.get(self._name)
        if node is not None and node.metadata.uid == self.uid and edit(node, _taints(node)) is None:
            return
        self._virtual_nodes.observe(await edit_node(self._parent, self._name, edit, uid=self.uid))

    def _edit(self, wanted: Wanted, parts: Set[str], node: Node, taints: list[Taint]) -> NodeEdit | None:
        """The changes that bring these parts of the Node up to date; None: they are."""
        record, metadata, spec = NodeRecord.of(node), dict[str, Any](), dict[str, Any]()
        found = NodeRecord(record.labels, record.taints)
        if _LABELS in parts:
            there = node.metadata.labels
            changed: dict[str, str | None] = {k: v for k, v in wanted.labels.items() if there.get(k) != v}
            changed |= {key: None for key in record.labels if key not in wanted.labels and key in there}
            found.labels = sorted(wanted.labels)
            if changed:
                metadata["labels"] = changed
        if parts & {_TAINTS, _HEALTH}:
            ours = [*(wanted.taints if _TAINTS in parts else ()), *self._health_taints()]
            taints, found.taints = self._merged(taints, ours, record, complete=_TAINTS in parts)
            if self._state.leaving and not fields(node.spec).get("unschedulable"):
                spec["unschedulable"] = True  # a member that leaves never returns
        provider_id = self._cluster.value.spec.provider_id
        if _PROVIDER_ID in parts and provider_id and fields(node.spec).get("providerID", "") != provider_id:
            spec["providerID"] = provider_id
        if node.metadata.annotations.get(wellknown.METADATA_KEYS) != (text := self._record(found)):
            metadata["annotations"] = {wellknown.METADATA_KEYS: text}
        return NodeEdit(taints, metadata, spec) if metadata or spec or taints != _taints(node) else None

    def _merged(
        self, there: list[Taint], ours: list[NodeTaint], record: NodeRecord, *, complete: bool
    ) -> tuple[list[Taint], list[tuple[str, str]]]:
        """The taints of the Node with ours in it, and which of them to record. Those that are right stay as they are:
        the server adds a time to some. `complete`: `ours` are all of ours; else only those of the health."""
        recorded = [key for key in record.taints if complete or key[0] in _HEALTH_KEYS]
        replaced = {*recorded, *((taint.key, taint.effect) for taint in ours)}
        if self._lifts_fence():
            replaced.add((wellknown.OUT_OF_SERVICE_TAINT, "NoExecute"))
        wanted = {(taint.key, taint.effect): taint for taint in ours}
        kept, right = [], set()
        for taint in there:
            key = taint["key"], taint["effect"]
            if key in wanted and taint.get("value", "") == wanted[key].value:
                right.add(key)
            elif key in replaced:
                continue
            kept.append(taint)
        missing = [taint for key, taint in wanted.items() if key not in right]
        others = [key for key in record.taints if key not in recorded]
        return kept + _in_spec(missing), sorted({*others, *wanted})

    def _health_taints(self) -> list[NodeTaint]:
        return health_taints(suspended=self._state.health.suspended, leaving=self._state.leaving)

    def _record(self, found: NodeRecord) -> str:
        found.resources, found.cluster = sorted(self.known_resources), self._cluster.value.metadata.name
        return msgspec.json.encode(found).decode()

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


def _taints(node: Node) -> list[Taint]:
    return fields(node.spec).get("taints") or []


def _in_spec(taints: list[NodeTaint]) -> list[Taint]:
    return [msgspec.to_builtins(taint) for taint in taints]


def _keys(taints: list[Taint]) -> list[tuple[str, str]]:
    return [(taint["key"], taint["effect"]) for taint in taints]
