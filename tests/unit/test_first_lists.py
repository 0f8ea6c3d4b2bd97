"""The first lists of a member may take as long as they make progress, in virtual time."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from vk_provider.caches import Caches
from vk_provider.errors import UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS

pytestmark = pytest.mark.looptime


@pytest.fixture(autouse=True)
def unfrozen() -> Iterator[None]:
    yield
    gc.unfreeze()


def caches(*informers: Any) -> Caches:
    """Only what `synced` uses."""
    return cast(Caches, SimpleNamespace(server="https://west:6443", all=lambda: list(informers)))


def informer() -> Any:
    return SimpleNamespace(synced=asyncio.Event(), progress=0.0)


async def test_lists_that_make_progress_are_waited_for() -> None:
    quick, slow = informer(), informer()
    quick.synced.set()

    async def receive() -> None:
        for _ in range(10):
            await asyncio.sleep(100)
            slow.progress = asyncio.get_running_loop().time()
        slow.synced.set()

    receiving = asyncio.create_task(receive())
    await Caches.synced(caches(quick, slow))
    assert receiving.done()


async def test_lists_that_make_no_progress_are_an_error() -> None:
    started = asyncio.get_running_loop().time()
    with pytest.raises(UnreachableError, match="no progress in 120 s"):
        await Caches.synced(caches(informer()))
    assert asyncio.get_running_loop().time() - started == pytest.approx(120)


async def test_attempts_that_fail_are_no_progress() -> None:
    class Refusing(Client):
        restores = 0

        def __init__(self) -> None:
            self.attempts = 0

        async def stream(
            self, path: str, query: Mapping[str, str], *, inactivity: float
        ) -> AsyncGenerator[bytes, None]:
            self.attempts += 1
            await asyncio.sleep(1)
            raise UnreachableError("cut")
            yield b""

    client = Refusing()
    failing: Informer[Pod] = Informer(client, PODS, Pod)
    running = asyncio.create_task(failing.run())
    with pytest.raises(UnreachableError, match="no progress in 120 s"):
        await Caches.synced(caches(failing))
    running.cancel()
    assert client.attempts > 5
