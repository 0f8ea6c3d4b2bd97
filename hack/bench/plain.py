"""The same burst on a cluster of its own: what running pods costs anyway.

Its pods are bound by its own scheduler, as those of a burst on a virtual node are bound by the member's: once each.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from localkube import ClusterInfo

from bench import burst, clusters
from bench.burst import IDLE_CLUSTERS, WARM_UP, Burst
from bench.load import Watcher
from bench.meter import Measured, Meter
from bench.pods import Group


@dataclass(frozen=True)
class Plain:
    """`life` is the CPU of everything in seconds per pod, beyond what the idle cluster takes."""

    burst: Burst
    life: float
    phases: dict[str, Measured]


async def run(cluster: ClusterInfo, pods: int, root: Path | None = None) -> Plain:
    """One burst, from created to gone."""
    meter = Meter([cluster], root, None, "")
    async with clusters.client(cluster) as client, Watcher(client) as watcher:
        await burst.prepare(client)
        warm_up, group = Group("warm-up", WARM_UP), Group("burst", pods)
        await burst.make(client, watcher, warm_up)
        await burst.end(client, [watcher], warm_up)
        idle = await meter.measure(asyncio.sleep(IDLE_CLUSTERS))
        made, seen = await meter.result(burst.make(client, watcher, group))
        gone = await meter.measure(burst.end(client, [watcher], group))
    life = (made + gone).beyond(idle).cluster_cpu / pods
    return Plain(seen, life, {"plain idle": idle, "plain create": made, "plain delete": gone})
