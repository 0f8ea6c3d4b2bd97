"""Fair shares of the requests in flight, in virtual time, and the Lease that never waits for them, over sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Final

import pytest

from tests.gateway import client_of
from vk_provider.kube.client import Client
from vk_provider.kube.http.shares import Share, Slots
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import LEASES
from vk_provider.kube.workqueue import WorkQueue

MEMBERS: Final = 8
WORKERS: Final = 32


async def request(share: Share, seconds: float = 0.5) -> None:
    await share.begin(30.0)
    try:
        await asyncio.sleep(seconds)
    finally:
        share.end()


@pytest.mark.looptime
class TestSlots:
    async def test_eight_members_with_two_thousand_keys_each_progress_alike(self) -> None:
        slots, done = Slots(100), [0] * MEMBERS
        tasks = []
        for number in range(MEMBERS):
            share = slots.share(33)

            async def reconcile(_key: int, number: int = number, share: Share = share) -> None:
                await request(share)
                done[number] += 1

            queue: WorkQueue[int] = WorkQueue("pods", reconcile, workers=WORKERS)
            for key in range(2000):
                queue.add(key)
            tasks.append(asyncio.create_task(queue.run()))
        await asyncio.sleep(40.1)
        assert sum(done) == 8000, "no slot is ever idle"
        assert max(done) - min(done) <= 100
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def test_a_share_without_requests_in_flight_gets_the_next_slot(self) -> None:
        slots = Slots(4)
        busy, other = slots.share(4), slots.share(4)
        load = [asyncio.create_task(request(busy, 1.0 + 0.1 * number)) for number in range(40)]
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        await other.begin(30.0)
        assert asyncio.get_running_loop().time() - began <= 1.0
        other.end()
        await asyncio.gather(*load)

    async def test_a_share_never_has_more_than_its_part(self) -> None:
        share = Slots(100).share(3)
        load = [asyncio.create_task(request(share)) for _ in range(10)]
        await asyncio.sleep(0.1)
        assert (share.in_flight, share.waiting) == (3, 7)
        await asyncio.gather(*load)
        assert (share.in_flight, share.waiting) == (0, 0)

    async def test_requests_of_a_share_begin_in_their_order(self) -> None:
        share, order = Slots(1).share(1), []

        async def one(number: int) -> None:
            await request(share)
            order.append(number)

        await asyncio.gather(*(one(number) for number in range(5)))
        assert order == [0, 1, 2, 3, 4]

    async def test_a_request_that_waits_too_long_gives_up_its_turn(self) -> None:
        share = Slots(1).share(1)
        first = asyncio.create_task(request(share, 10.0))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await share.begin(2.0)
        assert share.waiting == 0
        await first
        await request(share)

    async def test_a_request_that_is_cancelled_as_its_turn_comes_passes_the_slot_on(self) -> None:
        share = Slots(1).share(1)
        await share.begin(1.0)
        second, third = (asyncio.create_task(request(share)) for _ in range(2))
        await asyncio.sleep(0)
        share.end()  # the second one's turn
        second.cancel()
        await asyncio.wait([second, third], timeout=5.0)
        assert second.cancelled() and third.done() and not third.cancelled()
        assert share.in_flight == 0


class Slow(asyncio.Protocol):
    """An API server that answers each request after `seconds`."""

    BODY: Final = b'{"metadata": {"name": "x"}}'
    ANSWER: Final = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
    seconds = 0.05

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.seconds, self.transport.write, self.ANSWER)


@asynccontextmanager
async def slow_server(connections: int) -> AsyncIterator[Client]:
    """A client of it, with at most that many requests in flight."""
    server = await asyncio.get_running_loop().create_server(Slow, "127.0.0.1", 0)
    async with client_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections=connections) as client:
        yield client
    server.close()
    await server.wait_closed()


@asynccontextmanager
async def load(client: Client, keys: int) -> AsyncIterator[list[int]]:
    """Members that have many pods to write. Yields how many each of them has written."""
    done = [0] * MEMBERS
    async with asyncio.TaskGroup() as group:
        tasks = []
        for number in range(MEMBERS):
            view = client.share()

            async def reconcile(_key: int, number: int = number, view: Client = view) -> None:
                await view.request("PATCH", "/pods", body=b"{}")
                done[number] += 1

            queue: WorkQueue[int] = WorkQueue("pods", reconcile, workers=WORKERS)
            for key in range(keys):
                queue.add(key)
            tasks.append(group.create_task(queue.run()))
        await asyncio.sleep(0.2)
        yield done
        for task in tasks:
            task.cancel()


async def test_a_lease_is_renewed_in_time_while_eight_members_write_all_their_pods() -> None:
    """A tenth of the real size: the parent answers in 0.05 s, and a Lease is due every second."""
    async with slow_server(10) as client, load(client, 2000) as done:
        loop = asyncio.get_running_loop()
        renewed = [loop.time()]
        for _ in range(4):
            await asyncio.sleep(max(0.0, renewed[-1] + 1.0 - loop.time()))
            await client.urgent.patch(LEASES, "west", {}, type=PartialObject)
            renewed.append(loop.time())
        gaps = [later - earlier for earlier, later in pairwise(renewed)]
        assert max(gaps) < 1.5, gaps
        assert max(done) < 2 * min(done), done
        assert min(done) > 0, "the load lasts"


async def test_how_many_requests_wait_can_be_seen() -> None:
    async with slow_server(2) as client:
        view = client.share()
        requests = [asyncio.create_task(view.request("GET", "/")) for _ in range(5)]
        await asyncio.sleep(0.01)
        assert (view.waiting, client.waiting, client.urgent.waiting) == (4, 0, 0)
        await asyncio.gather(*requests)
        assert view.waiting == 0
