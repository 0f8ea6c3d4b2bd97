"""What our informer pays to receive and decode one watch event: `python -m bench.receive KUBECONFIG LABELS`.

In a process of its own, since only there all CPU time is the informer's: it takes in the pods with these labels as the
events of a streaming list, over a real connection. What is left after subtracting the same with no pod at all (the
handshakes, above all) is the price of the events. Prints JSON.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from typing import Final

import msgspec

from vk_provider.cli.parent import execute
from vk_provider.kube.auth import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS

_ROUNDS: Final = 5
_NOTHING: Final = "bench/none"


class Received(msgspec.Struct):
    """`cpu` is in seconds per event."""

    events: int
    cpu: float


async def _sync(kubeconfig: str, labels: str) -> tuple[int, float]:
    """Number of pods, and the CPU seconds until the cache was complete."""
    async with Client(Kubeconfig.from_files(kubeconfig).credentials()) as client:
        informer: Informer[Pod] = Informer(client, PODS, Pod, labels=labels)
        began = time.process_time()
        running = asyncio.ensure_future(informer.run())
        await informer.synced.wait()
        spent = time.process_time() - began
        running.cancel()
        return len(informer.items), spent


async def _measure(kubeconfig: str, labels: str) -> Received:
    await _sync(kubeconfig, labels)  # the first round pays for imports and for warm caches
    full = [await _sync(kubeconfig, labels) for _ in range(_ROUNDS)]
    empty = [await _sync(kubeconfig, _NOTHING) for _ in range(_ROUNDS)]
    events = full[0][0]
    spent = statistics.median(cpu for _, cpu in full) - statistics.median(cpu for _, cpu in empty)
    return Received(events, spent / max(1, events))


if __name__ == "__main__":
    print(msgspec.json.encode(execute(_measure(*sys.argv[1:3]), long_running=True)).decode())
