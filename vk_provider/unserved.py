"""What goes on for a member that is not served: from the first moment, before it is connected and listed, or instead.

    probes --> health --> Leases, taints and conditions of its Nodes (see sync/nodes/unserved), Reachable

Ends when the loops of the served member take over (`stop`), which continue with the same Health.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.observable import Observable
from vk_provider.parent import Parent
from vk_provider.sync.membership.connection import Connection
from vk_provider.sync.membership.report import Report
from vk_provider.sync.nodes.unserved import UnservedNode, find_nodes
from vk_provider.sync.state.health import HealthLoop
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.health import Health

log = logging.getLogger(__name__)

_RETRY_CAP: Final = 5.0  # seconds between attempts to read its Nodes


class Unserved:
    """One member. One that was never connected is not probed: no pod runs there yet."""

    def __init__(
        self,
        cluster: Observable[MemberCluster],
        connection: Connection,
        parent: Parent,
        report: Report,
        health: Health,
    ) -> None:
        self._cluster, self._connection, self._parent, self._report = cluster, connection, parent, report
        self.health = health
        self.state = MemberState(health.state, cluster)
        self._task: asyncio.Task[None] | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Begins. If another cluster answers in place of the member, ConfigError ends the tasks of the group."""
        self._task = tasks.create_task(self._run())

    async def stop(self) -> None:
        """Ends, and returns when nothing is written any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def hand_over(self) -> MemberState:
        """Ends. Returns what is known of the member until now, for the loops that serve it from now on."""
        await self.stop()
        state = MemberState(self.health.state, self._cluster)
        state.assess(self.state.health)
        state.mark_lists(current=self.state.lists_current)
        return state

    async def _run(self) -> None:
        if not self._report.cluster_uid:
            return
        names = await self._nodes()
        parent, state, changed = self._parent, self.state, asyncio.Event()
        nodes = [
            UnservedNode(name, uid, parent.client, parent.virtual_nodes, parent.freeze, state, parent.recorder)
            for name, uid in names.items()
        ]
        loop = HealthLoop(
            self._cluster,
            self._connection,
            self.health,
            state,
            parent.freeze,
            nodes,
            self._connection.probe,
            parent.client.timestamp,
        )
        state.on_change(changed.set)
        async with asyncio.TaskGroup() as group:
            for node in nodes:
                group.create_task(node.run())
            group.create_task(loop.run())
            while True:
                await changed.wait()
                changed.clear()
                await self._report.set_condition(wellknown.REACHABLE, *state.health.reachable)
                ready, reason, message = state.health.cluster_ready
                if not ready:
                    await self._report.set_ready(False, reason, message)

    async def _nodes(self) -> dict[str, str]:
        """Name and UID of its Nodes."""
        cluster, backoff = self._cluster.value, Backoff(base=0.5, cap=_RETRY_CAP)
        while True:
            try:
                return await find_nodes(self._parent.client, cluster.node_names, cluster.metadata.name)
            except VkError as error:
                pause = backoff.failed()
                log.log(backoff.level, "node not read", extra={"member": cluster.metadata.name, "error": str(error)})
            await asyncio.sleep(pause)
