"""One burst: pods created as fast as the API server takes them, to Running; and deleted, until gone everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench import load
from bench.figures import percentile
from bench.load import Watcher
from bench.pods import NAMESPACE, Group
from vk_provider.errors import ConflictError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import encode
from vk_provider.kube.resources import NAMESPACES, SERVICE_ACCOUNTS

WARM_UP: Final = 10  # pods that are not counted: they meet cold caches and closed connections
IDLE_CLUSTERS: Final = 10.0  # seconds in which the clusters' own upkeep is measured
_PATIENCE, _PATIENCE_PER_POD = 120.0, 1.0  # seconds; after that something is wrong, not slow


@dataclass(frozen=True)
class Burst:
    """`p50`: seconds from a pod's request to Running. `rate`: pods per second, from the first request until all run."""

    p50: float
    rate: float


def patience(group: Group) -> float:
    """Seconds that a group of pods may take for anything."""
    return _PATIENCE + _PATIENCE_PER_POD * group.size


async def prepare(client: Client) -> None:
    """Creates the namespace of all pods, and the service account that admission needs."""
    await client.request("POST", NAMESPACES.path(), body=encode({"metadata": {"name": NAMESPACE}}))
    try:
        path = SERVICE_ACCOUNTS.path(namespace=NAMESPACE)
        await client.request("POST", path, body=encode({"metadata": {"name": "default"}}))
    except ConflictError:
        pass  # the controller was faster


async def make(client: Client, watcher: Watcher, group: Group) -> Burst:
    """Creates the pods; all are Running when this returns."""
    sent = await load.create(client, group)
    await watcher.until_running(group, patience(group))
    running = {name: watcher.seen[name].running or 0.0 for name in sent}
    return Burst(
        p50=percentile([running[name] - at for name, at in sent.items()], 0.5),
        rate=group.size / (max(running.values()) - min(sent.values())),
    )


async def end(client: Client, watchers: list[Watcher], group: Group) -> None:
    """Deletes the pods; none is left anywhere when this returns."""
    await load.delete(client, group.selector)
    for watcher in watchers:
        await watcher.until_gone(group, patience(group))
