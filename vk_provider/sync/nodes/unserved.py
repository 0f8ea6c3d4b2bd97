"""A virtual node whose member is not served now: it is being connected or listed, or cannot be connected at all.

    always            the Lease is renewed, and the Node keeps its Ready condition
    suspect, refused  taint NoSchedule
    lost              the pods that ask for it are held, then Ready=False: as for a member that is served

Owns the Node's taint `suspect` and its conditions Ready and MemberReachable until the loops of the served member run.
Registers nothing: a Node that does not exist, or is not ours, is left alone. One that another client deletes meanwhile
is created again as it was: without it, Kubernetes would remove its pods by force, and they may run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.errors import ConflictError, NotFoundError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node, PartialObject, Pod, node_conditions
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS
from vk_provider.observable import Observable
from vk_provider.sync.node_edit import NodeEdit, Taint, edit_node
from vk_provider.sync.nodes.hold import HoldLoop
from vk_provider.sync.nodes.lease import LeaseLoop
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.nodes.record import NodeRecord, as_created, stands_for
from vk_provider.translate.state.freeze import Freeze
from vk_provider.translate.state.health import State

log = logging.getLogger(__name__)

_LISTED_WITHIN: Final = 5.0  # seconds that a loss waits for the list of the pods that may have to be held
_RETRY_CAP: Final = 10.0  # seconds between attempts while the parent accepts no writes
_SUSPECT: Final = (wellknown.SUSPECT_TAINT, "NoSchedule")


async def find_nodes(parent: Client, names: list[str], member: str) -> dict[str, str]:
    """Name and UID of those Nodes that exist and stand for this member. Raises the errors of the API server."""
    found = {}
    for name in names:
        with contextlib.suppress(NotFoundError):
            node = await parent.get(NODES, name, type=Node)
            if stands_for(node, member):
                found[name] = node.metadata.uid
    return found


class UnservedNode:
    """See the module's text. One Node."""

    def __init__(
        self,
        name: str,
        uid: str,
        parent: Client,
        virtual_nodes: Informer[Node],
        freeze: Freeze,
        state: MemberState,
        recorder: Recorder,
    ) -> None:
        """`virtual_nodes`: the Nodes of all members in the parent."""
        self._name, self.uid, self._parent, self._state, self._recorder = name, uid, parent.urgent, state, recorder
        self._lease = LeaseLoop(name, parent.urgent, freeze, self)
        self._pods: Informer[Pod] = Informer(parent, PODS, Pod, fields=f"spec.nodeName={name}")
        self._hold = HoldLoop(name, parent, self._pods, state, Observable(NodesReady()), recorder)
        self._changed = asyncio.Event()
        self._virtual_nodes = virtual_nodes
        self._deleted: asyncio.Queue[Node] = asyncio.Queue()  # as it was

    def changed(self) -> None:
        """The Node may be gone: the loops of the served member register it again."""

    def warn(self, reason: str, message: str) -> None:
        """Tells users in an Event about the Node."""
        self._recorder.event(NODES, Metadata(name=self._name, uid=self.uid), "Warning", reason, message)

    def renew_lease(self) -> None:
        """Renews the Lease now, so that the freeze learns whether the parent accepts a write."""
        self._lease.renew()

    async def outdated(self) -> str:
        """Why a member that was away is not Ready yet: nothing of it is listed."""
        return "its objects are not listed yet"

    def out_of_sync(self) -> str:
        """As `outdated`."""
        return "its objects are not listed yet"

    async def run(self) -> None:
        """Works until cancelled."""
        self._state.on_change(self._health_changed)
        with self._virtual_nodes.subscribed(self._node_changed):
            async with asyncio.TaskGroup() as group:
                group.create_task(self._lease.run())
                group.create_task(self._restore())
                await self._keep(group)

    def _node_changed(self, before: Node | None, after: Node | None) -> None:
        deleted = after is None and before is not None and before.metadata.uid == self.uid
        if deleted and before is not None and not self._state.leaving:
            self._deleted.put_nowait(before)

    async def _restore(self) -> None:
        """Creates the Node again each time that it is deleted."""
        backoff = Backoff(base=1.0, cap=_RETRY_CAP)
        while True:
            node = await self._deleted.get()
            try:
                created = await self._parent.create(NODES, as_created(node), type=Node)
            except ConflictError:
                continue  # it is there: created by another client, or without its label
            except VkError as error:
                self._deleted.put_nowait(node)
                pause = backoff.failed()
                log.log(backoff.level, "node not created", extra={"node": self._name, "error": str(error)})
                await asyncio.sleep(pause)
                continue
            backoff.succeeded()
            self.uid = created.metadata.uid
            self._virtual_nodes.observe(created)
            log.info("virtual node created again", extra={"node": self._name})
            self._changed.set()

    def _health_changed(self) -> None:
        _, reason, message = self._state.health.reachable
        kind = "Normal" if reason in (State.HEALTHY, State.RETURNING) else "Warning"
        self._recorder.event(NODES, Metadata(name=self._name, uid=self.uid), kind, f"Member{reason}", message)
        self._changed.set()

    async def _keep(self, group: asyncio.TaskGroup) -> None:
        backoff, holding = Backoff(base=1.0, cap=_RETRY_CAP), False
        while True:
            await self._changed.wait()
            self._changed.clear()
            if self._state.lost_reason:
                if not holding:
                    holding = True
                    group.create_task(self._pods.run())
                    group.create_task(self._hold.run())
                await self._before_not_ready()
            try:
                await self._write()
                backoff.succeeded()
            except (NotFoundError, ConflictError):
                log.info("node is gone", extra={"node": self._name})
            except VkError as error:
                pause = backoff.failed()
                log.log(backoff.level, "node not written", extra={"node": self._name, "error": str(error)})
                self._changed.set()
                await asyncio.sleep(pause)

    async def _before_not_ready(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LISTED_WITHIN):
                await self._pods.synced.wait()
        await self._hold.before_not_ready()

    async def _write(self) -> None:
        node = await edit_node(self._parent, self._name, self._edit)
        if node.metadata.uid != self.uid:
            return
        before = node_conditions(node)
        health, now = self._state.health, self._parent.timestamp()
        found = {wellknown.MEMBER_REACHABLE: health.reachable}
        ready, *why = health.node_ready
        if not ready and not ("Ready" in before and before["Ready"].status == "False"):  # whose reason is kept
            found["Ready"] = "False", why[0], why[1]
        conditions = []
        for type, (status, reason, message) in found.items():
            earlier = before.get(type)
            since = earlier.last_transition_time if earlier and earlier.status == status else None
            conditions.append(
                {
                    "type": type,
                    "status": status,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": since or now,
                }
            )
        await self._parent.patch(
            NODES,
            self._name,
            {"metadata": {"uid": self.uid}, "status": {"conditions": conditions}},
            type=PartialObject,
            patch_type=PatchType.STRATEGIC,
            subresource="status",
        )

    def _edit(self, node: Node, taints: list[Taint]) -> NodeEdit | None:
        """The taint, and its record, by which the loops of the served member know that it is ours."""
        record, wanted = NodeRecord.of(node), self._state.health.suspended
        present = any((taint["key"], taint["effect"]) == _SUSPECT for taint in taints)
        if node.metadata.uid != self.uid or wanted == present:
            return None
        others = [taint for taint in taints if (taint["key"], taint["effect"]) != _SUSPECT]
        record.taints = [each for each in record.taints if each != _SUSPECT]
        if wanted:
            record.taints.append(_SUSPECT)
            others.append({"key": _SUSPECT[0], "effect": _SUSPECT[1]})
        return NodeEdit(others, {"annotations": {wellknown.METADATA_KEYS: msgspec.json.encode(record).decode()}})
