"""The Node of a virtual node: created complete, as a kubelet does, and written when something changes.

    member nodes, others' pods --(gathered for a second)--> what it should be --> labels and taints, then status
    health of the member ------(at once; a loss waits for the holds)----^
    the Node in the parent ----(deleted: created again at once)---------^

Only what differs is written, and the status every minute. Owns the Node's status, and whether the member's nodes are
Ready. A part that the parent refuses costs only that part, and is reported. The Node is never deleted at shutdown: that
would make the parent delete its pods. (https://kubernetes.io/docs/reference/node/node-status/#heartbeats)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Any, Final

from vk_provider import __version__
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import ApiError, ConflictError, NotFoundError, UnreachableError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES
from vk_provider.observable import Observable
from vk_provider.sync.nodes.hold import HoldLoop
from vk_provider.sync.nodes.labels_and_taints import LabelsAndTaints
from vk_provider.sync.nodes.refusals import REFUSED
from vk_provider.sync.nodes.status_writer import Address, StatusWriter
from vk_provider.sync.nodes.usage import UsedByOthers
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.member_nodes import MemberNode
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.nodes.record import known
from vk_provider.translate.nodes.requests import Usage
from vk_provider.translate.nodes.wanted import Known, NodeView, Wanted
from vk_provider.translate.state.health import State

log = logging.getLogger(__name__)

_SETTLE: Final = 1.0  # seconds in which changes of the member's nodes and pods are gathered into one write
_LONGEST: Final = 3600.0  # seconds between looks
_AGAIN: Final = 0.2  # seconds until a Node that another client has deleted is created again
_RETRY_CAP: Final = 10.0  # seconds between attempts while the parent accepts no writes
_PASSING: Final = (404, 409, 429)  # another client changes the Node, or the parent is busy
_SERVED_WITHIN: Final = 5.0  # seconds that the first status waits for the kubelet API


class NodeStatusLoop:
    """Keeps the Node of one virtual node until it is cancelled."""

    def __init__(
        self,
        address: str,
        version: Observable[str],
        cluster: Observable[MemberCluster],
        parent: Client,
        virtual_nodes: Informer[Node],
        member_nodes: Informer[MemberNode],
        others: Sequence[Informer[Usage]],
        pods: PodCaches,
        *,
        state: MemberState,
        nodes_ready: Observable[NodesReady],
        hold: HoldLoop,
        recorder: Recorder,
    ) -> None:
        """`others`: pods of the member that are not ours; `pods`: ours. `address`: of this process, for the parent's
        API server. `version`: that of the member. `virtual_nodes`: the Nodes of all members in the parent.
        `nodes_ready`: whether the member's nodes are Ready, of which this loop is the writer."""
        self._name = pods.names.node
        self._version, self._cluster = version, cluster
        self._virtual_nodes, self._member_nodes = virtual_nodes, member_nodes
        self._state, self._hold, self._recorder = state, hold, recorder
        self.nodes_ready = nodes_ready
        self.problem = Observable("")  # what of the Node could not be written
        self.labels_and_taints = LabelsAndTaints(self._name, cluster, parent, virtual_nodes, member_nodes, state)
        self._status = StatusWriter(parent, Address(self._name, address), __version__)
        self._view = NodeView(self._name, Known(), cluster.value, 0.0)  # replaced when the Node is registered
        self._served = asyncio.Event()  # the kubelet API has a port
        self._dirty, self._urgent = asyncio.Event(), asyncio.Event()
        self._used = UsedByOthers(others, pods, self._look_again)  # calls it for what is cached already
        self._reported = ""  # reason of the last Event

    @property
    def uid(self) -> str:
        """UID of the Node; empty until it exists."""
        return self.labels_and_taints.uid

    @property
    def written(self) -> asyncio.Event:
        """This loop has written the status at least once."""
        return self._status.written

    async def register(self) -> None:
        """Adopts the Node that is there; `run` creates one that is not. A parent that does not answer is waited for.

        Raises ConfigError (NodeNameTaken), and the errors of a parent that does not let the Node be read.
        """
        backoff = Backoff(base=_SETTLE, cap=_RETRY_CAP)
        while True:
            try:
                return await self._adopt()
            except (ApiError, UnreachableError) as error:
                if isinstance(error, ApiError) and error.status < 500 and error.status not in _PASSING:
                    raise
                pause = backoff.failed()
                log.log(backoff.level, "node not registered", extra={"node": self._name, "error": str(error)})
                await asyncio.sleep(pause)

    async def _adopt(self) -> None:
        node = await self.labels_and_taints.adopt()
        if node is not None:
            self._status.adopt(node)
        before = known(node) if node is not None else Known()
        self._view = NodeView(self._name, before, self._cluster.value, asyncio.get_running_loop().time())
        if node is not None and self._state.leaving:  # the drain begins with its taint
            await self.labels_and_taints.write(self._wanted())

    def serve_kubelet(self, port: int) -> None:
        """The kubelet API listens on this port: publish it."""
        self._status.port = port
        self._served.set()
        self._look_again()

    def changed(self) -> None:
        """The Node may be gone, or may not be as it was written: write the status soon."""
        self._status.rewrite()
        self._look_again()

    def warn(self, reason: str, message: str) -> None:
        """Tells users in an Event about the Node."""
        self._event("Warning", reason, message)

    async def run(self) -> None:
        """Works until cancelled. The informers must be synced and the Node registered.

        The first status waits for the kubelet API, so that a user who waits for the node can exec at once; but not for
        long: a node without logs and exec is still a node.
        """
        self._member_nodes.on_change(self._member_node_changed)
        self._cluster.subscribe(self._look_again)
        self._version.subscribe(self._look_again)
        self._state.on_change(self._health_changed)
        with self._virtual_nodes.subscribed(self._node_changed):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SERVED_WITHIN):
                    await self._served.wait()
            await self._keep()

    def _look_again(self) -> None:
        self._dirty.set()

    def _member_node_changed(self, before: MemberNode | None, after: MemberNode | None) -> None:
        if before is None or after is None or not after.same(before):
            self._look_again()

    def _node_changed(self, before: Node | None, after: Node | None) -> None:
        """Another client may have deleted the Node, or changed its labels and taints."""
        node = after or before
        if node is None or node.metadata.name != self._name:
            return
        if after is None or after.metadata.uid != self.uid:
            self._urgent.set()
            self._look_again()
        elif before is None or _written_by_us(before) != _written_by_us(after):
            self._look_again()

    def _health_changed(self) -> None:
        """Writes it at once, and tells users in an Event."""
        self._urgent.set()
        self._look_again()
        _, reason, message = self._state.health.reachable
        if reason != self._reported:
            self._reported = reason
            kind = "Normal" if reason in (State.HEALTHY, State.RETURNING) else "Warning"
            self._event(kind, f"Member{reason}", message)

    def _event(self, kind: str, reason: str, message: str) -> None:
        self._recorder.event(NODES, Metadata(name=self._name, uid=self.uid), kind, reason, message)

    async def _keep(self) -> None:
        loop, backoff = asyncio.get_running_loop(), Backoff(base=_SETTLE, cap=_RETRY_CAP)
        while True:
            self._dirty.clear()
            self._urgent.clear()
            try:
                due = await self._look()
                backoff.succeeded()
            except (NotFoundError, ConflictError):  # the Node is gone, or another one
                self.labels_and_taints.uid = ""
                await asyncio.sleep(_AGAIN)
                continue
            except VkError as error:
                pause = backoff.failed()
                if isinstance(error, REFUSED):
                    self._report(f"node not created: {error.message}")
                log.log(backoff.level, "node not written", extra={"node": self._name, "error": str(error)})
                await asyncio.sleep(pause)
                continue
            try:
                async with asyncio.timeout_at(min(max(due, loop.time() + _SETTLE), loop.time() + _LONGEST)):
                    await self._dirty.wait()
            except TimeoutError:
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SETTLE):
                    await self._urgent.wait()

    async def _look(self) -> float:
        """Writes what differs. Returns the loop time of the next look, if nothing changes before."""
        wanted = self._wanted()
        conditions = self._status.conditions(wanted, self._state.health)
        if self._status.stops_being_ready(conditions):
            await self._hold.before_not_ready()
        if not self.labels_and_taints.exists:
            await self._create(wanted, conditions)
        problems, failed = wanted.problems, None
        try:
            problems += await self.labels_and_taints.write(wanted)
        except (NotFoundError, ConflictError):
            raise
        except VkError as error:  # such as a webhook that is down: the status does not wait for it
            failed = error
        problems += await self._status.write(self.uid, self._status.body(wanted, conditions, self._version.value))
        self._report("; ".join(problems))
        if failed is not None:
            raise failed
        return min(self._view.due, self._status.due)

    async def _create(self, wanted: Wanted, conditions: list[dict[str, Any]]) -> None:
        """Creates the Node with its status, so that no controller meets one that is not Ready yet."""
        status = self._status.body(wanted, conditions, self._version.value)
        node = await self.labels_and_taints.create(wanted, self._status.complete(status))
        self._status.adopt(node)

    def _wanted(self) -> Wanted:
        now, cluster = asyncio.get_running_loop().time(), self._cluster.value
        wanted = self._view.look(now, cluster, list(self._member_nodes.items.values()), self._used.by_node())
        if wanted.ready != self.nodes_ready.value:
            self.nodes_ready.set(wanted.ready)
            if wanted.ready.reason:
                self._event("Normal" if wanted.ready.ready else "Warning", wanted.ready.reason, wanted.ready.message)
        return wanted

    def _report(self, problem: str) -> None:
        if problem != self.problem.value:
            if problem:
                log.warning("part of the node not written", extra={"node": self._name, "error": problem})
            self.problem.set(problem)


def _written_by_us(node: Node) -> tuple[Any, ...]:
    return node.metadata.labels, node.metadata.annotations, bytes(node.spec)
