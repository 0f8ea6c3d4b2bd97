"""An informer of ConfigMaps under test, with a record of all calls of its handler."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Payload
from vk_provider.kube.resources import CONFIG_MAPS


class Longest(random.Random):
    """The largest jitter: delays equal the back-off, to the millisecond."""

    def uniform(self, a: float, b: float) -> float:
        return b


@dataclass
class Watching:
    """`calls` are the calls of the handler: added, changed or deleted, and the name."""

    informer: Informer[Payload]
    calls: list[tuple[str, str]] = field(default_factory=list)

    @property
    def names(self) -> set[str]:
        return {key.rpartition("/")[2] for key in self.informer.items}

    def record(self, before: Payload | None, after: Payload | None) -> None:
        kind = "added" if before is None else "deleted" if after is None else "changed"
        self.calls.append((kind, (after or before or Payload.__new__(Payload)).metadata.name))


@contextlib.asynccontextmanager
async def watching(
    client: Client,
    namespace: str = "ns",
    *,
    inactivity: float = 60.0,
    streaming_list: float = 60.0,
    labels: str = "",
    rng: random.Random | None = None,
    wait: bool = True,
) -> AsyncIterator[Watching]:
    """Runs the informer within the block; with `wait`, from its first complete list on."""
    informer: Informer[Payload] = Informer(
        client,
        CONFIG_MAPS,
        Payload,
        namespace=namespace,
        labels=labels,
        inactivity=inactivity,
        streaming_list=streaming_list,
        rng=rng,
    )
    found = Watching(informer)
    informer.on_change(found.record)
    task = asyncio.create_task(informer.run())
    try:
        if wait:
            async with asyncio.timeout(30):
                await informer.synced.wait()
        yield found
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def payload(name: str, version: int) -> Payload:
    return Payload(Metadata(name=name, namespace="ns", uid=f"uid-{name}", resource_version=str(version)))


async def begin(request: web.Request, *lines: bytes) -> web.StreamResponse:
    """An answer that starts with these lines. The caller writes the rest."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    for line in lines:
        await answer.write(line)
    return answer
