"""The process: watches MemberClusters, and supervises those that it is assigned.

Owns the TaskGroup and the signals. A MemberCluster that is added or deleted while this runs is served or left. Changes
apply in place; only a change of its connection restarts it. Which members this process serves is an input that may
change at any time; today it is all of them.
"""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from collections.abc import Collection
from dataclasses import dataclass

from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.config import Settings
from vk_provider.kube.auth.credentials import Credentials
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Object
from vk_provider.observable import Observable
from vk_provider.parent import Parent, connect
from vk_provider.supervisor import Supervisor, connection
from vk_provider.sync.membership.claims import Claims
from vk_provider.translate.state.freeze import Freeze

log = logging.getLogger(__name__)


async def run(credentials: Credentials, settings: Settings) -> None:
    """Serves all MemberClusters of the parent until SIGTERM or SIGINT.

    A parent that does not answer is waited for. Raises what waiting cannot heal (see parent.connect).
    """
    _raise_file_limit()
    async with Client(credentials) as client:
        main = asyncio.ensure_future(App(client, settings).run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, main.cancel)
        try:
            await main
        except asyncio.CancelledError:
            log.info("stopped")  # the Nodes stay: deleting them would make the parent delete their pods


@dataclass(frozen=True)
class _Supervised:
    supervisor: Supervisor
    task: asyncio.Task[None]


class App:
    """See the module's text."""

    def __init__(
        self, client: Client, settings: Settings, assigned: Observable[Collection[str] | None] | None = None
    ) -> None:
        """`assigned`: names of the MemberClusters that this process serves; None stands for all."""
        self._client, self._settings = client, settings
        self._assigned: Observable[Collection[str] | None] = assigned or Observable(None)
        self._clusters: Informer[Object] = Informer(client, MEMBER_CLUSTERS, Object)
        self._supervised: dict[str, _Supervised] = {}
        self._freeze = Freeze()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Serves until cancelled."""
        parent = await connect(self._client, self._settings, self._freeze)
        claims = Claims(parent.uid)
        self._clusters.on_change(lambda _before, _after: self._changed.set())
        self._assigned.subscribe(self._changed.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(parent.run())
            group.create_task(self._clusters.run())
            await parent.synced()
            await self._clusters.synced.wait()
            log.info("started", extra={"parent": self._client.server, "members": len(self._clusters.items)})
            try:
                while True:
                    self._changed.clear()
                    await self._follow(group, parent, claims)
                    await self._changed.wait()
            finally:
                for supervised in self._supervised.values():
                    supervised.supervisor.stop()

    async def _follow(self, group: asyncio.TaskGroup, parent: Parent, claims: Claims) -> None:
        """Starts, restarts and stops supervisors so that they fit the MemberClusters that exist."""
        assigned = self._assigned.value
        clusters = {
            name: raw for name, raw in self._clusters.items.items() if assigned is None or name in assigned
        }  # a copy: they may change while a member is being stopped
        self._freeze.members(clusters)
        for name, supervised in list(self._supervised.items()):
            if name not in clusters or connection(clusters[name]) != supervised.supervisor.connection:
                del self._supervised[name]
                supervised.supervisor.stop()
                supervised.task.cancel()
                await asyncio.gather(supervised.task, return_exceptions=True)
                if name not in self._clusters.items:
                    log.info("membercluster no longer exists", extra={"member": name})
        for name, raw in clusters.items():
            if name in self._supervised:
                await self._supervised[name].supervisor.update(raw)
            else:
                supervisor = Supervisor(raw, parent.share(), self._settings, claims)
                task = group.create_task(supervisor.run(), name=f"member {name}")
                self._supervised[name] = _Supervised(supervisor, task)


def _raise_file_limit() -> None:
    """Every watch is a connection; the soft limit of many systems (1,024) is for other kinds of programs."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
