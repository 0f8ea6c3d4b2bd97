"""The status of a virtual node, as a kubelet writes it: on each change, and every minute.

    member nodes, others' pods --(gathered for a second)--> labels and taints --> status
    health of the member ------(at once; a loss waits for the holds)----^

Owns the Node's status. The Node is never deleted at shutdown: that would make the parent delete its pods.
(https://kubernetes.io/docs/reference/node/node-status/#heartbeats)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Final

import msgspec

from vk_provider import __version__
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import ApiError, ConflictError, NotFoundError, UnreachableError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Condition, Metadata, PartialObject
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES
from vk_provider.observable import Observable
from vk_provider.sync.nodes.hold import HoldLoop
from vk_provider.sync.nodes.labels_and_taints import LabelsAndTaints, offer_of
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes import status as translate
from vk_provider.translate.nodes.offer import MemberNode, Offer, Usage, offer
from vk_provider.translate.state.health import State

log = logging.getLogger(__name__)

_HEARTBEAT: Final = 60.0  # seconds between status writes when nothing changes
_SETTLE: Final = 1.0  # seconds in which changes of the member's nodes and pods are gathered into one write
_RETRY_CAP: Final = 10.0  # seconds between attempts while the parent accepts no writes
_PASSING: Final = (404, 409, 429)  # another client changes the Node, or the parent is busy
_SERVED_WITHIN: Final = 5.0  # seconds that the first status waits for the kubelet API


class _Conditions(msgspec.Struct):
    conditions: list[Condition] = []


class NodeStatusLoop:
    """Writes the Node's status, and its labels and taints before it, until it is cancelled."""

    def __init__(
        self,
        name: str,
        address: str,
        version: str,
        cluster: Observable[MemberCluster],
        parent: Client,
        member_nodes: Informer[MemberNode],
        others: Informer[Usage],
        *,
        state: MemberState,
        hold: HoldLoop,
        recorder: Recorder,
    ) -> None:
        """`others`: pods of the member that are not ours. `address`: of this process, for the parent's API server.
        `version`: that of the member."""
        self._name, self._address, self._version = name, address, version
        self._cluster, self._parent = cluster, parent
        self._member_nodes, self._others = member_nodes, others
        self._state, self._hold, self._recorder = state, hold, recorder
        self.labels_and_taints = LabelsAndTaints(name, cluster, parent, member_nodes, state)
        self._port = 0
        self._served = asyncio.Event()  # the kubelet API listens on `_port`
        self._dirty, self._urgent = asyncio.Event(), asyncio.Event()
        self._reported = ""  # reason of the last Event
        self._since: dict[str, tuple[str, str]] = {}  # condition -> its status, and when it became that
        self._sent = Offer()
        self.written = asyncio.Event()  # this loop has written the status at least once

    @property
    def uid(self) -> str:
        """UID of the Node, once it is registered."""
        return self.labels_and_taints.uid

    async def register(self) -> None:
        """Creates the Node, or adopts the one that is there. A parent that does not answer is waited for.

        Raises ConfigError (NodeNameTaken), and the errors of a parent that does not accept the Node.
        """
        backoff = Backoff(base=_SETTLE, cap=_RETRY_CAP)
        while True:
            try:
                node = await self.labels_and_taints.register()
                break
            except (ApiError, UnreachableError) as error:
                if isinstance(error, ApiError) and error.status < 500 and error.status not in _PASSING:
                    raise
                pause = backoff.failed()
                log.log(backoff.level, "node not registered", extra={"node": self._name, "error": str(error)})
                await asyncio.sleep(pause)
        status = msgspec.json.decode(node.status, type=_Conditions)
        self._since = {c.type: (c.status, c.last_transition_time or "") for c in status.conditions}
        self._sent = offer_of(node)

    def serve_kubelet(self, port: int) -> None:
        """The kubelet API listens on this port: publish it."""
        self._port = port
        self._served.set()
        self.changed()

    def changed(self) -> None:
        """Something that the status is made of has changed: write it soon."""
        self._dirty.set()

    def warn(self, reason: str, message: str) -> None:
        """Tells users in an Event about the Node."""
        self._recorder.event(NODES, Metadata(name=self._name, uid=self.uid), "Warning", reason, message)

    async def run(self) -> None:
        """Works until cancelled. The informers must be synced and the Node registered.

        The first status waits for the kubelet API, so that a user who waits for the node can exec at once; but not for
        long: a node without logs and exec is still a node.
        """
        self._member_nodes.on_change(lambda _before, _after: self.changed())
        self._others.on_change(lambda _before, _after: self.changed())
        self._cluster.subscribe(self.changed)
        self._state.on_change(self._health_changed)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_SERVED_WITHIN):
                await self._served.wait()
        await self._keep_status()

    def _health_changed(self) -> None:
        """Writes it at once, and tells users in an Event."""
        self._urgent.set()
        self.changed()
        _, reason, message = self._state.health.reachable
        if reason != self._reported:
            self._reported = reason
            kind = "Normal" if reason in (State.HEALTHY, State.RETURNING) else "Warning"
            about = Metadata(name=self._name, uid=self.uid)
            self._recorder.event(NODES, about, kind, f"Member{reason}", message)

    async def _keep_status(self) -> None:
        backoff = Backoff(base=_SETTLE, cap=_RETRY_CAP)
        while True:
            self._dirty.clear()
            self._urgent.clear()
            try:
                if self._state.lost_reason and self._since.get("Ready", ("", ""))[0] != "False":
                    await self._hold.before_not_ready()
                await self.labels_and_taints.refresh()
                await self._write_status()
                backoff.succeeded()
            except (NotFoundError, ConflictError):
                await self.register()  # another client deleted the Node; a kubelet registers again as well
                continue
            except VkError as error:
                pause = backoff.failed()
                log.log(backoff.level, "node status not written", extra={"node": self._name, "error": str(error)})
                await asyncio.sleep(pause)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_HEARTBEAT):
                    await self._dirty.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE):
                    await self._urgent.wait()

    async def _write_status(self) -> None:
        nodes = list(self._member_nodes.items.values())
        wanted = offer(nodes, self._others.items.values(), self._cluster.value.spec.capacity)
        status = {
            "capacity": _replacing(self._sent.capacity, wanted.capacity),
            "allocatable": _replacing(self._sent.allocatable, wanted.allocatable),
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
        self._sent = wanted
        self.written.set()

    def _conditions(self, nodes: list[MemberNode]) -> list[dict[str, str]]:
        now, health = self._parent.timestamp(), self._state.health
        ready, *why_ready = health.node_ready
        reachable, *why_reachable = health.reachable
        found = translate.conditions(nodes)
        found.append(_condition("Ready", "True" if ready else "False", *why_ready))
        found.append(_condition(wellknown.MEMBER_REACHABLE, reachable, *why_reachable))
        for condition in found:
            status, since = self._since.get(condition["type"], ("", ""))
            if status != condition["status"] or not since:
                since = now
            self._since[condition["type"]] = (condition["status"], since)
            condition["lastHeartbeatTime"], condition["lastTransitionTime"] = now, since
        return found


def _condition(type: str, status: str, reason: str, message: str) -> dict[str, str]:
    return {"type": type, "status": status, "reason": reason, "message": message}


def _replacing(sent: dict[str, str], wanted: dict[str, str]) -> dict[str, str | None]:
    """The merge patch of a map: what was sent before and is no longer wanted is removed."""
    return {**wanted, **{name: None for name in sent if name not in wanted}}
