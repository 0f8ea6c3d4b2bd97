"""The same burst in a plain cluster: the cost of pods without a provider.

The cluster's scheduler binds each pod once, as the member's scheduler does in a burst on a virtual node. Bursts here
run immediately before and after that burst, so that other load of the machine affects both.
"""

from __future__ import annotations

import asyncio
import statistics
from pathlib import Path

from localkube import ClusterInfo

from bench import burst
from bench.burst import IDLE_CLUSTERS, WARM_UP, Burst
from bench.load import Watcher
from bench.meter import Measured, Meter
from bench.pods import Group
from vk_provider.kube.client import Client


class PlainCluster:
    """A cluster without a provider, and its bursts so far."""

    def __init__(self, cluster: ClusterInfo, client: Client, watcher: Watcher, root: Path | None = None) -> None:
        self._meter, self._client, self._watcher = Meter([cluster], root, None, ""), client, watcher
        self._idle = Measured()
        self._lives: list[float] = []
        self.bursts: list[Burst] = []
        self.phases: dict[str, Measured] = {}

    @property
    def life(self) -> float:
        """CPU seconds of all processes per pod life, without those of the idle cluster: the mean of all bursts."""
        return statistics.mean(self._lives)

    async def prepare(self) -> None:
        """Call it before the first burst."""
        await burst.prepare(self._client)
        warm_up = Group("warm-up", WARM_UP)
        await burst.make(self._client, self._watcher, warm_up)
        await burst.end(self._client, [self._watcher], warm_up)
        self._idle = self.phases["plain idle"] = await self._meter.measure(asyncio.sleep(IDLE_CLUSTERS))

    async def burst(self, pods: int) -> None:
        """One burst, from the creation to the deletion of the pods."""
        number = len(self.bursts) + 1
        group = Group(f"burst-{number}", pods)
        made, seen = await self._meter.result(burst.make(self._client, self._watcher, group))
        gone = await self._meter.measure(burst.end(self._client, [self._watcher], group))
        self.phases |= {f"plain create {number}": made, f"plain delete {number}": gone}
        self.bursts.append(seen)
        self._lives.append((made + gone).beyond(self._idle).cluster_cpu / pods)
