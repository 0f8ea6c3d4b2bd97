"""One member, composed from top to bottom: what is known of it, its caches, its parts; then its loops run.

    caches synced -> state, from what watched over the member until now -> dependents -> virtual nodes -> registered
                     -> loops (deleted: drain, then the loops end)

Once per virtual node: see virtual_node.py. All else exists once per member. Dependencies are constructed first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from vk_provider.api.membercluster import MemberCluster
from vk_provider.caches import Caches
from vk_provider.config import Settings
from vk_provider.observable import Observable
from vk_provider.parent import Parent
from vk_provider.sync.dependents.dependents import Dependents
from vk_provider.sync.membership.conditions import ConditionLoop
from vk_provider.sync.membership.connection import Connection
from vk_provider.sync.membership.leave import drain
from vk_provider.sync.membership.report import Report
from vk_provider.sync.pods.events import EventLoop, member_events
from vk_provider.sync.state.health import HealthLoop
from vk_provider.translate.names import Names
from vk_provider.translate.pods.pod import Target
from vk_provider.unserved import Unserved
from vk_provider.virtual_node import MemberParts, VirtualNode


class _LeftError(Exception):
    """The membership has ended; ends the loops."""


@dataclass(frozen=True)
class Member:
    """A member that answers. A changed MemberCluster reaches its parts through `cluster`."""

    cluster: Observable[MemberCluster]
    connection: Connection
    parent: Parent
    settings: Settings
    report: Report
    unserved: Unserved  # watches over the member until the lists are complete

    async def run(self) -> None:
        """Serves the member until its membership has ended (returns) or something breaks (raises)."""
        try:
            async with asyncio.TaskGroup() as tasks:
                await self._start(tasks)
        except* _LeftError:
            pass

    async def _start(self, tasks: asyncio.TaskGroup) -> None:
        cluster, parent, connection = self.cluster, self.parent, self.connection
        member, current = connection.client, cluster.value
        names = Names(current.node_name, parent.uid, current.spec.namespace_mapping.prefix)
        target = Target(names, current.spec.api_access, parent.host, parent.port)
        caches = Caches.of(parent.client, member, names, current.node_names, connection.rights)
        connection.optional = caches.optional()
        for informer in caches.all():
            tasks.create_task(informer.run())
        await caches.synced()
        state, health = await self.unserved.hand_over(), self.unserved.health
        dependents = Dependents(target, cluster, parent, member, caches.dependents, state, tasks)
        shared = MemberParts(cluster, connection, parent, self.settings, self.report, state, caches, dependents)
        nodes = [VirtualNode(pods, replace(target, names=pods.names), shared) for pods in caches.virtual_nodes]
        for node in nodes:
            await node.register()
        probe, timestamp, lists = connection.probe, parent.client.timestamp, caches.essential()
        health_loop = HealthLoop(cluster, member, health, state, parent.freeze, nodes, probe, timestamp, lists)
        events = EventLoop(caches.virtual_nodes, member_events(member), parent.recorder, connection.rights)
        conditions = ConditionLoop(cluster, state, [node.status for node in nodes], self.report, connection.version)
        member_wide = (dependents.run(), health_loop.run(), events.run(), conditions.run())
        for loop in (*(node.run() for node in nodes), *member_wide):
            tasks.create_task(loop)
        if current.metadata.deletion_timestamp is not None:
            await drain(parent.client, current, caches.dependents, state, self.report, dependents.delete_namespaces)
            raise _LeftError
