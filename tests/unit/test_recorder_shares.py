"""Events of many users of one recorder: none displaces those of another, and what was dropped was not written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest

from vk_provider.errors import ForbiddenError, UnreachableError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata
from vk_provider.kube.recorder import ForwardedEvent, Recorder
from vk_provider.kube.resources import PODS

pytestmark = pytest.mark.looptime


class Server(Client):
    """Takes a tenth of a second for each Event."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.failures: list[VkError] = []
        self.most = self._running = 0

    async def request(self, method: str, path: str, *, body: bytes | None = None, **_: Any) -> bytes:
        self._running += 1
        self.most = max(self.most, self._running)
        await asyncio.sleep(0.1)
        self._running -= 1
        if self.failures:
            raise self.failures.pop(0)
        event = msgspec.json.decode(body or b"{}")
        self.written.append(event["message"])
        return b'{"metadata": {"name": "x"}}'

    def timestamp(self) -> str:
        return "2026-03-01T10:00:00Z"


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[None]:
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def warn(recorder: Recorder, message: str) -> None:
    recorder.event(PODS, Metadata(name="web", namespace="shop", uid="u-1"), "Warning", "Failed", message)


async def test_a_member_with_many_warnings_neither_displaces_nor_delays_those_of_another() -> None:
    server = Server()
    recorder = Recorder(server)
    west, east = recorder.share(), recorder.share()
    for number in range(3000):
        warn(west, f"west {number}")
    warn(east, "east")
    async with running(recorder):
        await asyncio.sleep(0.35)
        assert "east" in server.written
        await asyncio.sleep(300)
        assert len(server.written) == 1001


async def test_events_of_one_view_are_sent_one_after_another() -> None:
    server = Server()
    recorder = Recorder(server)
    original = ForwardedEvent("web.abc", "kubelet", "alpha", "", 1, "", "")
    about = Metadata(name="web", namespace="shop", uid="u-1")
    for count in range(5):
        recorder.forward(PODS, about, "Warning", "BackOff", f"{count}", original)
    async with running(recorder):
        await asyncio.sleep(5)
    assert server.most == 1
    assert server.written == ["0", "1", "2", "3", "4"]


async def test_an_event_that_was_dropped_does_not_count_as_written() -> None:
    server = Server()
    recorder = Recorder(server)
    for number in range(1001):
        warn(recorder, f"{number}")
    async with running(recorder):
        await asyncio.sleep(200)
        assert "1000" not in server.written
        warn(recorder, "1000")
        warn(recorder, "0")
        await asyncio.sleep(1)
    assert server.written.count("1000") == server.written.count("0") == 1


@pytest.mark.parametrize(
    ("failure", "again"), [(UnreachableError("cut"), True), (ForbiddenError(403, "Forbidden", "no"), False)]
)
async def test_an_event_that_the_server_could_not_write_is_written_the_next_time(failure: VkError, again: bool) -> None:
    server = Server()
    server.failures.append(failure)
    recorder = Recorder(server)
    async with running(recorder):
        for _ in range(3):
            warn(recorder, "words")
            await asyncio.sleep(1)
    assert server.written == (["words"] if again else [])
