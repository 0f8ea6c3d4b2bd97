"""The virtual node: registers it, renews its lease, and keeps its status true.

Owns the Node's labels that are ours, its taints that are ours, its status and its Lease. The Node is never deleted at
shutdown: that would make the parent delete its pods.
(https://kubernetes.io/docs/reference/node/node-status/#heartbeats)
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec

from vk_provider import __version__
from vk_provider.api import words
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import ConfigError, ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Condition, Named, Node, fields
from vk_provider.kube.resources import LEASES, NODES
from vk_provider.translate import node as translate
from vk_provider.translate.node import MemberNode, Offer, Usage

log = logging.getLogger(__name__)

_LEASE_EVERY: Final = 10.0  # seconds
_LEASE_SECONDS: Final = 40
_HEARTBEAT: Final = 60.0  # seconds between status writes when nothing changes
_SETTLE: Final = 1.0  # seconds in which changes of the member's nodes and pods are gathered into one write
_ATTEMPTS: Final = 10  # at a Node that others write at the same time
_LEASE_NAMESPACE: Final = "kube-node-lease"


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
        ready: Callable[[], tuple[bool, str, str]],
        address: str,
    ) -> None:
        """`others` are the pods of the member that are not ours; `ready` gives the Ready condition: whether, reason
        and message. `address` is where the provider can be reached."""
        self._cluster, self._version = cluster, version
        self._name = cluster.node_name
        self._parent = parent
        self._nodes, self._others = nodes, others
        self._ready = ready
        self._address, self._port = address, 0
        self._dirty = asyncio.Event()
        self._since: dict[str, tuple[str, str]] = {}  # condition -> status, and since when
        self._sent: Offer = Offer()
        self._uid = ""

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
        owner = node.metadata.labels.get(words.CLUSTER_LABEL)
        if owner != cluster.metadata.name:
            raise ConfigError(
                f"the parent has a node {self._name} that does not stand for member {cluster.metadata.name}",
                reason="NodeNameTaken",
                remedy="join the member with another --node-name",
            )
        self._uid = node.metadata.uid
        status = msgspec.json.decode(node.status, type=_Status)
        self._since = {c.type: (c.status, c.last_transition_time or "") for c in status.conditions}
        self._sent = Offer(status.capacity, status.allocatable)
        await self._own(node, labels)

    def serve_kubelet(self, port: int) -> None:
        """The kubelet API is served there now: tell the parent."""
        self._port = port
        self.changed()

    def changed(self) -> None:
        """Something that the status is made of has changed: write it soon."""
        self._dirty.set()

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced and the Node registered."""
        self._nodes.on_change(lambda _before, _after: self.changed())
        self._others.on_change(lambda _before, _after: self.changed())
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_lease())
            group.create_task(self._keep_status())

    async def _create(self, labels: dict[str, str]) -> Node:
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._name, "labels": labels, "annotations": {words.METADATA_KEYS: _keys(labels)}},
            "spec": {"taints": [msgspec.to_builtins(taint) for taint in self._cluster.spec.taints]},
        }
        node = await self._parent.create(NODES, body, type=Node)
        log.info("virtual node registered", extra={"node": self._name})
        return node

    async def _own(self, node: Node, labels: dict[str, str]) -> None:
        """Labels and taints of ours as they should be; those of others, and a cordon, stay."""
        record = json.loads(node.metadata.annotations.get(words.METADATA_KEYS, "{}"))
        stale = {key: None for key in record.get("labels", ()) if key not in labels}
        taints = fields(node.spec).get("taints") or []
        earlier = {tuple(key) for key in record.get("taints", ())}
        wanted = [msgspec.to_builtins(taint) for taint in self._cluster.spec.taints]
        mine = {(taint["key"], taint["effect"]) for taint in wanted}
        kept = [taint for taint in taints if (taint["key"], taint["effect"]) not in earlier | mine]
        patch: dict[str, Any] = {
            "metadata": {
                "uid": node.metadata.uid,
                "labels": labels | stale,
                "annotations": {words.METADATA_KEYS: _keys(labels, sorted(mine))},
            }
        }
        if kept + wanted != taints:
            # Taints are one list that others write too: only on the version that was read.
            patch["metadata"]["resourceVersion"] = node.metadata.resource_version
            patch["spec"] = {"taints": kept + wanted}
        await self._parent.patch(NODES, self._name, patch, type=Named)

    async def _keep_lease(self) -> None:
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await self._renew_lease()
            except VkError as error:
                log.warning("lease not renewed", extra={"node": self._name, "error": str(error)})
            await asyncio.sleep(max(1.0, started + _LEASE_EVERY - asyncio.get_running_loop().time()))

    async def _renew_lease(self) -> None:
        spec = {
            "holderIdentity": self._name,
            "leaseDurationSeconds": _LEASE_SECONDS,
            "renewTime": self._parent.server_time().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await self._parent.patch(LEASES, self._name, {"spec": spec}, _LEASE_NAMESPACE, type=Named)
        except NotFoundError:
            self.changed()  # gone with its Node, perhaps: a status write tells, and brings both back
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": self._uid}
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self._name, "ownerReferences": [owner]},
                "spec": spec,
            }
            await self._parent.create(LEASES, body, _LEASE_NAMESPACE, type=Named)

    async def _keep_status(self) -> None:
        while True:
            self._dirty.clear()
            try:
                await self._write_status()
            except (NotFoundError, ConflictError):
                await self.register()  # somebody deleted the Node; a kubelet comes back as well
                continue
            except VkError as error:
                log.warning("node status not written", extra={"node": self._name, "error": str(error)})
                self._dirty.set()
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await self._dirty.wait()
            except TimeoutError:
                pass
            await asyncio.sleep(_SETTLE)

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
            "declaredFeatures": translate.declared_features(self._version) if self._port else None,
        }
        await self._parent.patch(
            NODES,
            self._name,
            {"metadata": {"uid": self._uid}, "status": status},
            type=Named,
            patch_type=PatchType.STRATEGIC,
            subresource="status",
        )
        self._sent = offer

    def _conditions(self, nodes: list[MemberNode]) -> list[dict[str, str]]:
        now = self._parent.server_time().strftime("%Y-%m-%dT%H:%M:%SZ")
        ready, reason, message = self._ready()
        found = translate.conditions(nodes)
        found.append({"type": "Ready", "status": "True" if ready else "False", "reason": reason, "message": message})
        for condition in found:
            status, since = self._since.get(condition["type"], ("", ""))
            if status != condition["status"] or not since:
                since = now
            self._since[condition["type"]] = (condition["status"], since)
            condition["lastHeartbeatTime"], condition["lastTransitionTime"] = now, since
        return found


def _keys(labels: dict[str, str], taints: list[tuple[str, str]] | None = None) -> str:
    return json.dumps({"labels": sorted(labels), "taints": taints or []}, separators=(",", ":"))
