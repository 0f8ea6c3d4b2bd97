"""The virtual node: registers it, and keeps its labels, taints and status true.

Owns the Node's labels that are ours, its taints that are ours, and its status. The Node is never deleted at
shutdown: that would make the parent delete its pods. Takes a fence back when the member answers: the taint, then the
annotation that stated it.
(https://kubernetes.io/docs/reference/node/node-status/#heartbeats)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable, Sequence, Set
from typing import Any, Final

import msgspec

from vk_provider import __version__
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.errors import ConfigError, ConflictError, NotFoundError, VkError
from vk_provider.kube.backoff import full_jitter
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Condition, Metadata, Node, PartialObject, fields
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES
from vk_provider.translate.nodes import node as translate
from vk_provider.translate.nodes.node import MemberNode, Offer, Usage
from vk_provider.translate.state.health import Belief, State

log = logging.getLogger(__name__)

_HEARTBEAT: Final = 60.0  # seconds between status writes when nothing changes
_SETTLE: Final = 1.0  # seconds in which changes of the member's nodes and pods are gathered into one write
_RETRY_CAP: Final = 10.0  # seconds between attempts while the parent takes no writes
_SERVED_WITHIN: Final = 5.0  # seconds that the first status waits for the kubelet API
_ATTEMPTS: Final = 10  # at a Node that others write at the same time


class _Status(msgspec.Struct):
    conditions: list[Condition] = []
    allocatable: dict[str, str] = {}
    capacity: dict[str, str] = {}


class NodeLoop:
    """See the module's text."""

    def __init__(
        self,
        cluster: MemberCluster,
        version: str,
        parent: Client,
        nodes: Informer[MemberNode],
        others: Informer[Usage],
        *,
        belief: Callable[[], Belief],
        recorder: Recorder,
        address: str,
    ) -> None:
        """`others` are the pods of the member that are not ours; `belief` is what is said of the member now.
        `address` is where the provider can be reached."""
        self._cluster, self._version = cluster, version
        self._name = cluster.node_name
        self._parent = parent
        self._nodes, self._others = nodes, others
        self._belief, self._recorder = belief, recorder
        self._address, self._port = address, 0
        self._served = asyncio.Event()  # the kubelet API is, at `_port`
        self._dirty, self._urgent = asyncio.Event(), asyncio.Event()
        self._told = ""  # reason of the last Event
        self._owned: Any = None  # labels, taints, whether a fence is lifted, and resources, as they were last written
        self._since: dict[str, tuple[str, str]] = {}  # condition -> status, and since when
        self._sent: Offer = Offer()
        self._known: set[str] = set()  # resources that the member's nodes have or had
        self._rng = random.Random()
        self.uid = ""  # of the Node, once it is registered
        self.written = asyncio.Event()  # its status is, by this loop

    async def register(self) -> None:
        """Creates the Node, or takes up the one that is there.

        Raises ConfigError (NodeNameTaken) where a Node of that name stands for something else.
        """
        for _ in range(_ATTEMPTS):
            try:
                return await self._register()
            except (NotFoundError, ConflictError):
                continue  # somebody wrote it in between: the node controller does so as soon as it sees a new Node
        await self._register()

    async def _register(self) -> None:
        cluster = self._cluster
        labels = translate.labels(cluster, self._nodes.items.values())
        try:
            node = await self._parent.get(NODES, self._name, type=Node)
        except NotFoundError:
            node = await self._create(labels)
        owner = node.metadata.labels.get(wellknown.CLUSTER_LABEL)
        if owner != cluster.metadata.name:
            raise ConfigError(
                f"the parent has a node {self._name} that does not stand for member {cluster.metadata.name}",
                reason="NodeNameTaken",
                remedy="join the member with another --node-name",
            )
        self.uid = node.metadata.uid
        self._owned = None
        status = msgspec.json.decode(node.status, type=_Status)
        self._since = {c.type: (c.status, c.last_transition_time or "") for c in status.conditions}
        self._sent = Offer(status.capacity, status.allocatable).only(_record(node).resources)
        self._known |= self._sent.capacity.keys() | set(_record(node).resources or ())
        for one in self._nodes.items.values():
            self._learn(one)
        await self._own(node, labels)

    async def ready_status(self) -> str:
        """Status of the Ready condition of the Node as it is; empty where there is none yet."""
        try:
            node = await self._parent.get(NODES, self._name, type=Node)
        except NotFoundError:
            return ""
        conditions = msgspec.json.decode(node.status, type=_Status).conditions
        return next((c.status for c in conditions if c.type == "Ready"), "")

    def follow(self, cluster: MemberCluster) -> None:
        """Another version of the MemberCluster: its labels, taints and capacity count from now on."""
        self._cluster = cluster
        self.changed()

    def believe(self) -> None:
        """What is believed of the member has changed: write it at once, and tell people."""
        self._urgent.set()
        self.changed()
        _, reason, message = self._belief().reachable
        if reason == self._told:
            return
        self._told = reason
        kind = "Normal" if reason in (State.HEALTHY, State.RETURNING) else "Warning"
        about = Metadata(name=self._name, uid=self.uid)
        self._recorder.event(NODES, about, kind, f"Member{reason}", message)

    def serve_kubelet(self, port: int) -> None:
        """The kubelet API is served there now: tell the parent."""
        self._port = port
        self._served.set()
        self.changed()

    def _node_changed(self, _before: MemberNode | None, after: MemberNode | None) -> None:
        self._learn(after)
        self.changed()

    def _learn(self, node: MemberNode | None) -> None:
        if node is not None:
            self._known |= node.capacity.keys() | node.allocatable.keys()

    def changed(self) -> None:
        """Something that the status is made of has changed: write it soon."""
        self._dirty.set()

    @property
    def known_resources(self) -> Set[str]:
        """Resources that nodes of the member have or had, and those that its owner promises; others are not ours."""
        return self._known | self._cluster.spec.capacity.keys()

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced and the Node registered.

        A node is Ready with its kubelet API, so that who waited for it may exec at once; or without, where that
        cannot be served: a node without logs and exec is still a node.
        """
        self._nodes.on_change(self._node_changed)
        self._others.on_change(lambda _before, _after: self.changed())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SERVED_WITHIN):
                await self._served.wait()
        await self._keep_status()

    async def _create(self, labels: dict[str, str]) -> Node:
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self._name,
                "labels": labels,
                "annotations": {wellknown.METADATA_KEYS: self._keys(labels)},
            },
            "spec": {"taints": [msgspec.to_builtins(taint) for taint in self._cluster.spec.taints]},
        }
        node = await self._parent.create(NODES, body, type=Node)
        log.info("virtual node registered", extra={"node": self._name})
        return node

    async def _own(self, node: Node, labels: dict[str, str]) -> None:
        """Labels and taints of ours as they should be; those of others, and a cordon, stay."""
        record = _record(node)
        stale = {key: None for key in record.labels if key not in labels}
        taints = fields(node.spec).get("taints") or []
        earlier = set(record.taints)
        wanted = self._taints()
        lift = self._lifts_fence()
        mine = {(taint["key"], taint["effect"]) for taint in wanted}
        gone = earlier | mine | ({(wellknown.OUT_OF_SERVICE_TAINT, "NoExecute")} if lift else set())
        kept = [taint for taint in taints if (taint["key"], taint["effect"]) not in gone]
        patch: dict[str, Any] = {
            "metadata": {
                "uid": node.metadata.uid,
                "labels": labels | stale,
                "annotations": {wellknown.METADATA_KEYS: self._keys(labels, sorted(mine))},
            }
        }
        if kept + wanted != taints:
            # Taints are one list that others write too: only on the version that was read.
            patch["metadata"]["resourceVersion"] = node.metadata.resource_version
            patch["spec"] = {"taints": kept + wanted}
        await self._parent.patch(NODES, self._name, patch, type=PartialObject)
        if lift:
            await self._forget_fence()
        self._owned = (labels, wanted, lift, set(self.known_resources))

    async def _refresh(self) -> None:
        """Writes labels and taints where they are no longer what they should be, and which resources are ours.

        The latter before the status first has them.
        """
        labels = translate.labels(self._cluster, self._nodes.items.values())
        if self._owned != (labels, self._taints(), self._lifts_fence(), set(self.known_resources)):
            await self._own(await self._parent.get(NODES, self._name, type=Node), labels)

    def _keys(self, labels: dict[str, str], taints: Sequence[tuple[str, str]] = ()) -> str:
        record = _Record(sorted(labels), list(taints), sorted(self.known_resources))
        return msgspec.json.encode(record).decode()

    def _taints(self) -> list[dict[str, str]]:
        wanted = [msgspec.to_builtins(taint) for taint in self._cluster.spec.taints]
        if self._belief().suspended:
            wanted.append({"key": wellknown.SUSPECT_TAINT, "effect": "NoSchedule"})
        return wanted

    def _lifts_fence(self) -> bool:
        """Whether somebody stated that the member is down, and it answers."""
        fenced = wellknown.FENCED in self._cluster.metadata.annotations
        return fenced and self._belief().state in (State.RETURNING, State.HEALTHY)

    async def _forget_fence(self) -> None:
        metadata = self._cluster.metadata
        body = {"metadata": {"uid": metadata.uid, "annotations": {wellknown.FENCED: None}}}
        await self._parent.patch(MEMBER_CLUSTERS, metadata.name, body, type=PartialObject)
        log.info("fence taken back", extra={"node": self._name})

    async def _keep_status(self) -> None:
        failures = 0  # in a row
        while True:
            self._dirty.clear()
            self._urgent.clear()
            try:
                await self._refresh()
                await self._write_status()
                failures = 0
            except (NotFoundError, ConflictError):
                await self.register()  # somebody deleted the Node; a kubelet comes back as well
                continue
            except VkError as error:
                failures += 1
                level = logging.WARNING if failures == 1 or failures % 30 == 0 else logging.DEBUG
                log.log(level, "node status not written", extra={"node": self._name, "error": str(error)})
                await asyncio.sleep(full_jitter(failures, base=_SETTLE, cap=_RETRY_CAP, rng=self._rng))
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT):
                    await self._dirty.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE):
                    await self._urgent.wait()

    async def _write_status(self) -> None:
        nodes = list(self._nodes.items.values())
        offer = translate.offer(nodes, self._others.items.values(), self._cluster.spec.capacity)
        status = {
            "capacity": offer.capacity | {name: None for name in self._sent.capacity if name not in offer.capacity},
            "allocatable": offer.allocatable
            | {name: None for name in self._sent.allocatable if name not in offer.allocatable},
            "conditions": self._conditions(nodes),
            "nodeInfo": translate.node_info(nodes, self._version, __version__),
            "addresses": [
                {"type": "InternalIP", "address": self._address},
                {"type": "Hostname", "address": self._name},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}} if self._port else None,
            "declaredFeatures": translate.declared_features(nodes, self._version, served=bool(self._port)),
        }
        await self._parent.patch(
            NODES,
            self._name,
            {"metadata": {"uid": self.uid}, "status": status},
            type=PartialObject,
            patch_type=PatchType.STRATEGIC,
            subresource="status",
        )
        self._sent = offer
        self.written.set()

    def _conditions(self, nodes: list[MemberNode]) -> list[dict[str, str]]:
        now = self._parent.server_time().strftime("%Y-%m-%dT%H:%M:%SZ")
        belief = self._belief()
        ready, reason, message = belief.node_ready
        reachable, why, words_of_it = belief.reachable
        found = translate.conditions(nodes)
        found.append({"type": "Ready", "status": "True" if ready else "False", "reason": reason, "message": message})
        found.append({"type": wellknown.MEMBER_REACHABLE, "status": reachable, "reason": why, "message": words_of_it})
        for condition in found:
            status, since = self._since.get(condition["type"], ("", ""))
            if status != condition["status"] or not since:
                since = now
            self._since[condition["type"]] = (condition["status"], since)
            condition["lastHeartbeatTime"], condition["lastTransitionTime"] = now, since
        return found


class _Record(msgspec.Struct):
    """What of the Node is ours, as an annotation of it says. `resources` None: nobody has said so yet."""

    labels: list[str] = []
    taints: list[tuple[str, str]] = []
    resources: list[str] | None = None


def _record(node: Node) -> _Record:
    try:
        return msgspec.json.decode(node.metadata.annotations.get(wellknown.METADATA_KEYS, "{}"), type=_Record)
    except msgspec.DecodeError:
        return _Record()  # somebody has spoilt it; it is written anew
