"""What a connection tells beside its answers: that a member lives, and that the parent takes writes."""

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
from vk_provider.kube import client as module
from vk_provider.kube.client import Client
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
        heard: list[float] = []
        async for _ in client.stream("/api/v1/pods", {}, inactivity=60):
            heard.append(client.last_sign_of_life)
            more.set()
            if len(heard) == 2:
                break
        assert now() - 30 < heard[0] < heard[1] <= now()


async def test_a_refusal_is_no_sign_of_life() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(503, "ServiceUnavailable")

    async with Gateway(script) as gateway, gateway.client() as client:
        for attempt in (client.request("GET", "/x"), anext(client.stream("/x", {}, inactivity=60))):
            with pytest.raises(Exception, match="ServiceUnavailable"):
                await attempt
        assert client.last_sign_of_life == 0.0


async def test_a_watch_whose_answer_does_not_begin_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.3)

    async def script(request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with Gateway(script) as gateway, gateway.client() as client:
        with pytest.raises(UnreachableError, match="no answer in time"):
            async with asyncio.timeout(20):
                await anext(client.stream("/api/v1/pods", {}, inactivity=60))


async def test_watches_that_may_be_dead_can_be_ended_and_nothing_else_is() -> None:
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
        assert session.connection is not None, "an exec session goes on"
        session.close()


class Leased(NamedTuple):
    """A running LeaseLoop, and what it works with."""

    loop: LeaseLoop
    freeze: Freeze
    client: Client
    gateway: Gateway


class _Node:
    uid = "uid-west"

    def changed(self) -> None:
        """Nothing follows from it here."""

    def warn(self, reason: str, message: str) -> None:
        """The only provider."""


@asynccontextmanager
async def leased(script: Answer) -> AsyncIterator[Leased]:
    """One whose parent answers as scripted."""

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


async def test_a_parent_that_is_slow_to_take_a_write_is_told_before_it_has_and_until_it_is_quick_again() -> None:
    let_go = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        await let_go.wait()
        return taken()

    async with leased(script) as (loop, freeze, _, _):
        await eventually_here(lambda: "more than 5 s" in freeze.why, "the write hangs")
        assert freeze.wrote_at == 0.0
        let_go.set()
        await eventually_here(lambda: "a write took" in freeze.why, "it came, and late")
        loop.renew()
        await eventually_here(lambda: freeze.why == "", "the next one is quick")
        assert freeze.wrote_at > 0.0


@pytest.mark.parametrize(("status", "trouble"), [(500, True), (503, True), (403, False), (409, False)])
async def test_a_parent_that_fails_is_in_trouble_and_one_that_refuses_is_not(status: int, trouble: bool) -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(status, "Scripted")

    async with leased(script) as (_, freeze, _, gateway):
        await eventually_here(lambda: gateway.asked, "it was asked")
        await eventually_here(lambda: bool(freeze.why) is trouble, "it is judged")
        assert freeze.wrote_at == 0.0


async def test_watches_that_were_silent_while_the_parent_did_not_answer_are_begun_anew() -> None:
    """Their connections may be dead without a sign; that of one that brought something since is not."""
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


async def test_a_lease_that_is_not_there_is_made_and_belongs_to_the_node() -> None:
    bodies: list[dict[str, object]] = []

    async def script(request: web.Request) -> web.StreamResponse:
        if request.method == "PATCH":
            return failure(404, "NotFound")
        bodies.append(await request.json())
        return taken()

    async with leased(script) as (_, freeze, _, _):
        await eventually_here(lambda: freeze.wrote_at > 0.0, "it is written")
    assert bodies[0]["metadata"] == {
        "name": "west",
        "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "west", "uid": "uid-west"}],
    }


@pytest.mark.parametrize(("found", "restores"), [("8", 1), ("10", 0)], ids=["restored", "somebody else wrote it"])
async def test_a_lease_that_is_older_than_what_was_written_tells_of_a_restore(found: str, restores: int) -> None:
    versions = ["7"]  # of the Lease; the last is what the parent has

    async def script(request: web.Request) -> web.StreamResponse:
        if request.method == "PATCH":
            if (await request.json()).get("metadata", {}).get("resourceVersion", versions[-1]) != versions[-1]:
                return failure(409, "Conflict")
            versions.append("9" if versions == ["7"] else "12")
        return web.json_response({"metadata": {"name": "west", "resourceVersion": versions[-1]}})

    async with leased(script) as (loop, freeze, client, _):
        await eventually_here(lambda: freeze.wrote_at > 0, "it is written")
        versions.append(found)
        loop.renew()
        await eventually_here(lambda: versions == ["7", "9", found, "12"], "it is written again, whatever it was")
        assert client.restores == restores
        loop.renew()
        await eventually_here(lambda: versions[-2:] == ["12", "12"], "and again")
        assert client.restores == restores, "a restore is told once"
