"""The CPU that our informer needs to receive and decode one watch event: `python -m bench.receive KUBECONFIG LABELS`.

Runs in a process that does nothing else, so that all its CPU time is the informer's. It receives the pods with these
labels as the events of a streaming list, over a real connection. The same with no pod at all is subtracted: what
remains is the cost of the events. To compare with, a bare loop decodes the same bytes, from memory and with a decoder
that no change of ours can make slower. Prints JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import Final

import msgspec

from vk_provider.cli.parent import execute
from vk_provider.kube.auth import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.informer import INACTIVITY, Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS

_ROUNDS: Final = 15  # the smallest value counts: disturbances only add to it
_NO_PODS: Final = "bench/none"
_END: Final = b'"k8s.io/initial-events-end":"true"'


class Received(msgspec.Struct):
    """CPU seconds per event: of our informer, and of the bare loop."""

    events: int
    cpu: float
    bare: float


def bare_loop(lines: Sequence[bytes]) -> float:
    """CPU seconds to decode these lines into plain dicts and lists, one by one."""
    decode = msgspec.json.decode
    began = time.process_time()
    for line in lines:
        decode(line)
    return time.process_time() - began


async def _sync(kubeconfig: str, labels: str) -> float:
    """CPU seconds from the start of an informer until its cache is complete; each has a connection of its own."""
    async with Client(Kubeconfig.from_files(kubeconfig).credentials()) as client:
        informer: Informer[Pod] = Informer(client, PODS, Pod, labels=labels)
        began = time.process_time()
        running = asyncio.ensure_future(informer.run())
        await informer.synced.wait()
        spent = time.process_time() - began
        running.cancel()
        return spent


async def _events(kubeconfig: str, labels: str) -> list[bytes]:
    """The events that such an informer receives, as bytes."""
    query = {"watch": "1", "allowWatchBookmarks": "true", "labelSelector": labels}
    query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
    lines: list[bytes] = []
    async with Client(Kubeconfig.from_files(kubeconfig).credentials()) as client:
        async for line in client.stream(PODS.path(), query, inactivity=INACTIVITY):
            if _END in line:
                break
            if line:
                lines.append(bytes(line))
    return lines


async def _measure(kubeconfig: str, labels: str) -> Received:
    lines = await _events(kubeconfig, labels)
    await _sync(kubeconfig, labels)  # the first round pays for imports and cold caches
    full, empty, bare = [], [], []
    for _ in range(_ROUNDS):  # in turn, so that all three see the same disturbances
        full.append(await _sync(kubeconfig, labels))
        empty.append(await _sync(kubeconfig, _NO_PODS))
        bare.append(bare_loop(lines))
    events = max(1, len(lines))
    return Received(len(lines), (min(full) - min(empty)) / events, min(bare) / events)


if __name__ == "__main__":
    print(msgspec.json.encode(execute(_measure(*sys.argv[1:3]), long_running=True)).decode())
