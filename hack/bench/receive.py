"""The CPU of the provider's informer for one watch event: `python -m bench.receive KUBECONFIG LABELS`.

Runs in its own process, so that all its CPU time belongs to the work. The informer receives the pods with these labels
as events of a streaming list, over a real connection. For comparison, a plain loop receives and decodes the same bytes:
the size of the chunks depends on the machine, and costs both the same. The cost of an empty list is subtracted from
both. Prints JSON.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp
import msgspec

from vk_provider.cli.parent import execute
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS

_ROUNDS: Final = 15  # the smallest value counts: other load only increases it
_NO_PODS: Final = "bench/none"
_LIST: Final = {
    "watch": "1",
    "allowWatchBookmarks": "true",
    "sendInitialEvents": "true",
    "resourceVersionMatch": "NotOlderThan",
}


class Received(msgspec.Struct):
    """CPU seconds per event: of the provider's informer, and of the plain loop."""

    events: int
    cpu: float
    bare: float


class EventDecoder:
    """Decodes events into dicts and lists as bytes arrive. It contains no code of the provider."""

    def __init__(self) -> None:
        self._rest = b""
        self.events = 0

    def feed(self, chunk: bytes) -> bool:
        """Whether the list is complete."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            if msgspec.json.decode(line)["type"] == "BOOKMARK":
                return True
            self.events += 1
        return False


async def _informer(kubeconfig: str, labels: str) -> tuple[int, float]:
    """The number of pods, and the CPU seconds from the start of an informer until its cache is complete."""
    async with Client(Kubeconfig.from_files(kubeconfig).credentials()) as client:
        informer: Informer[Pod] = Informer(client, PODS, Pod, labels=labels)
        began = time.process_time()
        running = asyncio.ensure_future(informer.run())
        await informer.synced.wait()
        spent = time.process_time() - began
        running.cancel()
        return len(informer.items), spent


async def _bare(kubeconfig: str, labels: str) -> tuple[int, float]:
    """The same with a plain loop."""
    credentials = Kubeconfig.from_files(kubeconfig).credentials()
    authorization = await credentials.authorization()
    headers = {"Authorization": authorization} if authorization else {}
    connector = aiohttp.TCPConnector(ssl=credentials.ssl)
    async with aiohttp.ClientSession(credentials.server, connector=connector, headers=headers) as session:
        decoder, began = EventDecoder(), time.process_time()
        async with session.get(PODS.path(), params=_LIST | {"labelSelector": labels}) as response:
            response.raise_for_status()
            async for chunk in response.content.iter_any():
                if decoder.feed(chunk):
                    break
            return decoder.events, time.process_time() - began


async def _measure(kubeconfig: str, labels: str) -> Received:
    (events, informer), (_, bare) = await _least(kubeconfig, labels)
    (_, no_informer), (_, no_bare) = await _least(kubeconfig, _NO_PODS)
    return Received(events, (informer - no_informer) / max(1, events), (bare - no_bare) / max(1, events))


async def _least(kubeconfig: str, labels: str) -> tuple[tuple[int, float], tuple[int, float]]:
    """The smallest values of the informer and of the plain loop, which run in turn. The first round does not count: it
    includes imports and cold caches."""
    ways: tuple[Callable[[str, str], Awaitable[tuple[int, float]]], ...] = (_informer, _bare)
    found = [[await way(kubeconfig, labels) for way in ways] for _ in range(_ROUNDS + 1)][1:]
    return min(informer for informer, _ in found), min(bare for _, bare in found)


if __name__ == "__main__":
    print(msgspec.json.encode(execute(_measure(*sys.argv[1:3]), long_running=True)).decode())
