"""One burst: creates pods as fast as the API server accepts them, and deletes them until no cluster has any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bench import load
from bench.load import Watcher
from bench.measurements import percentile
from bench.pods import NAMESPACE, Group
from vk_provider.errors import ConflictError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import encode
from vk_provider.kube.resources import NAMESPACES, SERVICE_ACCOUNTS

WARM_UP: Final = 10  # pods that are not counted: caches are still cold and connections closed
IDLE_CLUSTERS: Final = 10.0  # seconds in which the background load of the clusters is measured
_PATIENCE, _PATIENCE_PER_POD = 120.0, 1.0  # seconds; a longer wait means an error, not a slow machine


@dataclass(frozen=True)
class Burst:
    """`p50`: seconds from a pod's request to Running. `rate`: pods per second, from the first request until all run."""

    p50: float
    rate: float


def patience(group: Group) -> float:
    """The deadline in seconds for any step of a group of pods."""
    return _PATIENCE + _PATIENCE_PER_POD * group.size


async def prepare(client: Client) -> None:
    """Creates the namespace of all pods, and the service account that admission requires."""
    await client.request("POST", NAMESPACES.path(), body=encode({"metadata": {"name": NAMESPACE}}))
    try:
        path = SERVICE_ACCOUNTS.path(namespace=NAMESPACE)
        await client.request("POST", path, body=encode({"metadata": {"name": "default"}}))
    except ConflictError:
        pass  # the controller was faster


async def make(client: Client, watcher: Watcher, group: Group) -> Burst:
    """Creates the pods. Returns when all of them are Running."""
    sent = await load.create(client, group)
    await watcher.until_running(group, patience(group))
    running = {name: watcher.seen[name].running or 0.0 for name in sent}
    return Burst(
        p50=percentile([running[name] - at for name, at in sent.items()], 0.5),
        rate=group.size / (max(running.values()) - min(sent.values())),
    )


async def end(client: Client, watchers: list[Watcher], group: Group) -> None:
    """Deletes the pods. Returns when no cluster has any of them."""
    await load.delete(client, group.selector)
    for watcher in watchers:
        await watcher.until_gone(group, patience(group))
