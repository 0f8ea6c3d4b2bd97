"""The conditions Ready and Reachable of a MemberCluster that is served, from the health of the member and its nodes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.observable import Observable
from vk_provider.sync.membership.report import Report
from vk_provider.sync.state.state import MemberState


class Node(Protocol):
    """Interface: a virtual node."""

    @property
    def written(self) -> asyncio.Event: ...


class ConditionLoop:
    """Writes the conditions after each change, until it is cancelled."""

    def __init__(
        self, cluster: Observable[MemberCluster], state: MemberState, nodes: Sequence[Node], report: Report
    ) -> None:
        self._cluster, self._state, self._nodes, self._report = cluster, state, nodes, report

    async def run(self) -> None:
        """The member is Ready once its nodes are: users who wait for it find nodes that accept pods."""
        changed = asyncio.Event()
        changed.set()
        self._cluster.subscribe(changed.set)
        self._state.on_change(changed.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._when_nodes_are_written(changed))
            while True:
                await changed.wait()
                changed.clear()
                await self._write()

    async def _when_nodes_are_written(self, changed: asyncio.Event) -> None:
        for node in self._nodes:
            await node.written.wait()
        changed.set()

    async def _write(self) -> None:
        health = self._state.health
        await self._report.set_condition(wellknown.REACHABLE, *health.reachable)
        ready, reason, message = health.cluster_ready
        if ready and not all(node.written.is_set() for node in self._nodes):
            return
        cluster = self._cluster.value
        if cluster.metadata.deletion_timestamp is None:
            served = f"virtual node {', '.join(cluster.node_names)} is served"
            await self._report.set_ready(ready, reason, message or served)
