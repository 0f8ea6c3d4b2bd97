"""The conditions of a MemberCluster that is served, from the health of the member and its nodes, and its version."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.observable import Observable
from vk_provider.sync.membership.report import Report
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.readiness import NodesReady


class Node(Protocol):
    """Interface: a virtual node."""

    @property
    def written(self) -> asyncio.Event: ...

    @property
    def nodes_ready(self) -> Observable[NodesReady]: ...

    @property
    def problem(self) -> Observable[str]: ...


class ConditionLoop:
    """Writes the conditions after each change, until it is cancelled."""

    def __init__(
        self,
        cluster: Observable[MemberCluster],
        state: MemberState,
        nodes: Sequence[Node],
        report: Report,
        version: Observable[str],
    ) -> None:
        """`version`: that of the member."""
        self._cluster, self._state, self._nodes, self._report = cluster, state, nodes, report
        self._version, self._reported = version, version.value
        self._had_problem = report.has(wellknown.NODE_CONFIGURED)

    async def run(self) -> None:
        """The member is Ready once its nodes are: users who wait for it find nodes that accept pods."""
        changed = asyncio.Event()
        changed.set()
        self._cluster.subscribe(changed.set)
        self._state.on_change(changed.set)
        self._version.subscribe(changed.set)
        for node in self._nodes:
            node.nodes_ready.subscribe(changed.set)
            node.problem.subscribe(changed.set)
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
        await self._write_version()
        await self._write_problem()
        await self._report.set_condition(wellknown.REACHABLE, *health.reachable)
        ready, reason, message = health.cluster_ready
        for found in (node.nodes_ready.value for node in self._nodes):
            if ready and not found.ready:
                ready, reason, message = False, found.reason, found.message
        if ready and not all(node.written.is_set() for node in self._nodes):
            return
        cluster = self._cluster.value
        if cluster.metadata.deletion_timestamp is None:
            served = f"virtual node {', '.join(cluster.node_names)} is served"
            await self._report.set_ready(ready, reason, message or served)

    async def _write_version(self) -> None:
        if self._version.value != self._reported:
            self._reported = self._version.value
            await self._report.set_version(self._reported)

    async def _write_problem(self) -> None:
        """The condition exists once there has been a problem."""
        problem = "; ".join(filter(None, (node.problem.value for node in self._nodes)))
        written = all(node.written.is_set() for node in self._nodes)
        if problem:
            self._had_problem = True
            await self._report.set_condition(wellknown.NODE_CONFIGURED, "False", wellknown.PARTS_NOT_WRITTEN, problem)
        elif self._had_problem and written:
            message = "the virtual node is as it should be"
            await self._report.set_condition(wellknown.NODE_CONFIGURED, "True", wellknown.CONFIGURED, message)
