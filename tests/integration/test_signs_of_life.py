"""Signs of life on connections to a member, and the health of writes to the parent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
from aiohttp import web

from tests.gateway import Gateway, bookmark, cut_off, failure, stream
from tests.waiting import eventually_here
from vk_provider.errors import UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.http import api as module
from vk_provider.sync.nodes.lease import LeaseLoop
from vk_provider.translate.state.freeze import Freeze

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_bytes_of_a_watch_are_a_sign_of_life_and_its_silence_is_none() -> None:
    more = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(bookmark(1))
        await more.wait()
        await answer.write(bookmark(2))
        await asyncio.Event().wait()
        return answer

    async with Gateway(script) as gateway, gateway.client() as client:
        signs: list[float] = []
        async for _ in client.stream("/api/v1/pods", {}, inactivity=60):
            signs.append(client.last_sign_of_life)
            more.set()
            if len(signs) == 2:
                break
        assert now() - 30 < signs[0] < signs[1] <= now()


async def test_an_error_answer_is_no_sign_of_life() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(503, "ServiceUnavailable")

    async with Gateway(script) as gateway, gateway.client() as client:
        for attempt in (client.request("GET", "/x"), anext(client.stream("/x", {}, inactivity=60))):
            with pytest.raises(Exception, match="ServiceUnavailable"):
                await attempt
        assert client.last_sign_of_life == 0.0


async def test_a_watch_without_a_response_fails_at_its_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.3)

    async def script(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with Gateway(script) as gateway, gateway.client() as client:
        with pytest.raises(UnreachableError, match="no answer in time"):
            async with asyncio.timeout(20):
                await anext(client.stream("/api/v1/pods", {}, inactivity=60))


async def test_only_watches_that_may_be_dead_are_aborted() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return await stream(request, bookmark(1))

    async with Gateway(script) as gateway, gateway.client() as client:
        session = await client.open("GET", "/exec")
        lines = client.stream("/api/v1/pods", {}, inactivity=60)
        await anext(lines)
        client.end_watches()
        with pytest.raises(UnreachableError):
            async with asyncio.timeout(20):
                while True:
                    await anext(lines)
        assert session.connection is not None, "an exec session is not affected"
        session.close()


class Leased(NamedTuple):
    """A running LeaseLoop with its collaborators."""

    loop: LeaseLoop
    freeze: Freeze
    client: Client
    gateway: Gateway


class _Node:
    uid = "uid-west"

    def changed(self) -> None:
        """Has no effect in these tests."""

    def warn(self, reason: str, message: str) -> None:
        """The only provider."""


@asynccontextmanager
async def leased(script: Answer) -> AsyncIterator[Leased]:
    """A LeaseLoop with a scripted parent."""

    async def maybe(request: web.Request) -> web.StreamResponse | None:
        return await script(request)

    freeze = Freeze()
    async with Gateway(maybe) as gateway, gateway.client() as client:
        loop = LeaseLoop("west", client, freeze, _Node())
        task = asyncio.create_task(loop.run())
        try:
            yield Leased(loop, freeze, client, gateway)
        finally:
            task.cancel()
            await asyncio.wait([task])


def taken() -> web.Response:
    return web.json_response({"metadata": {"name": "west"}})


async def test_a_slow_write_to_the_parent_is_reported_from_its_deadline_until_a_fast_write() -> None:
    answered = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        await answered.wait()
        return taken()

    async with leased(script) as (loop, freeze, _, _):
        await eventually_here(lambda: "more than 5 s" in freeze.why, "the write exceeds its deadline")
        assert freeze.wrote_at == 0.0
        answered.set()
        await eventually_here(lambda: "a write took" in freeze.why, "the write completes late")
        loop.renew()
        await eventually_here(lambda: freeze.why == "", "the next write is fast")
        assert freeze.wrote_at > 0.0


@pytest.mark.parametrize(("status", "frozen"), [(500, True), (503, True), (403, False), (409, False)])
async def test_an_error_of_the_parent_causes_a_freeze_and_a_rejection_does_not(status: int, frozen: bool) -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(status, "Scripted")

    async with leased(script) as (_, freeze, _, gateway):
        await eventually_here(lambda: gateway.asked, "the parent receives a request")
        await eventually_here(lambda: bool(freeze.why) is frozen, "the freeze has the expected state")
        assert freeze.wrote_at == 0.0


async def test_watches_that_are_silent_while_the_parent_does_not_answer_are_restarted() -> None:
    """Their connections may be dead. A watch that has received bytes since is not restarted."""
    answers, speak = False, asyncio.Semaphore(0)

    async def script(request: web.Request) -> web.StreamResponse:
        if request.path == "/silent":
            return await stream(request, bookmark(1))
        if request.path == "/talking":
            answer = web.StreamResponse()
            await answer.prepare(request)
            while True:
                await answer.write(bookmark(1))
                await speak.acquire()
        return taken() if answers else cut_off(request)

    async with leased(script) as (loop, freeze, client, _):
        silent, talking = (client.stream(path, {}, inactivity=60) for path in ("/silent", "/talking"))
        await anext(silent)
        await anext(talking)
        freeze.parent(now())
        loop.renew()
        await eventually_here(lambda: freeze.why, "a renewal fails")
        speak.release()
        await anext(talking)

        answers = True
        loop.renew()
        with pytest.raises(UnreachableError):
            async with asyncio.timeout(20):
                await anext(silent)
        assert freeze.why == ""
        speak.release()
        async with asyncio.timeout(20):
            await anext(talking)


async def test_a_missing_lease_is_created_with_the_node_as_its_owner() -> None:
    bodies: list[dict[str, object]] = []

    async def script(request: web.Request) -> web.StreamResponse:
        if request.method == "PATCH":
            return failure(404, "NotFound")
        bodies.append(await request.json())
        return taken()

    async with leased(script) as (_, freeze, _, _):
        await eventually_here(lambda: freeze.wrote_at > 0.0, "the Lease is written")
    assert bodies[0]["metadata"] == {
        "name": "west",
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "west", "uid": "uid-west"}],
    }


@pytest.mark.parametrize(("found", "restores"), [("8", 1), ("10", 0)], ids=["restored", "another client wrote it"])
async def test_a_lease_that_is_older_than_the_last_write_indicates_a_restore(found: str, restores: int) -> None:
    versions = ["7"]  # of the Lease; the last is what the parent has

    async def script(request: web.Request) -> web.StreamResponse:
        if request.method == "PATCH":
            if (await request.json()).get("metadata", {}).get("resourceVersion", versions[-1]) != versions[-1]:
                return failure(409, "Conflict")
            versions.append("9" if versions == ["7"] else "12")
        return web.json_response({"metadata": {"name": "west", "resourceVersion": versions[-1]}})

    async with leased(script) as (loop, freeze, client, _):
        await eventually_here(lambda: freeze.wrote_at > 0, "the Lease is written")
        versions.append(found)
        loop.renew()
        await eventually_here(lambda: versions == ["7", "9", found, "12"], "the Lease is written again")
        assert client.restores == restores
        loop.renew()
        await eventually_here(lambda: versions[-2:] == ["12", "12"], "the Lease is renewed")
        assert client.restores == restores, "a restore is noted once"
