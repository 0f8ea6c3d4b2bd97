"""A watch that only forwards: from now on, nothing twice, nothing kept. And the Events of a member that it is for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.gateway import Gateway, Script, event, failure, gone_event, item, stream
from tests.waiting import eventually_here
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import CONFIG_MAPS
from vk_provider.kube.watch import Follower


@asynccontextmanager
async def following(script: Script) -> AsyncIterator[tuple[Gateway, list[str]]]:
    """Yields the server, and the names of what was forwarded."""
    forwarded: list[str] = []
    async with Gateway(script) as gateway, gateway.client() as client:
        gateway.newest = "100"
        follower: Follower[PartialObject] = Follower(client, CONFIG_MAPS, PartialObject)
        running = asyncio.create_task(follower.run(lambda found: forwarded.append(found.metadata.name)))
        try:
            yield gateway, forwarded
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


def begins(gateway: Gateway) -> list[str | None]:
    """The versions after which the watches began. Whether anything was listed: `lists` in it."""
    return ["lists" if asked.lists else asked.query.get("resourceVersion") for asked in gateway.asked]


async def test_what_happens_from_now_on_is_forwarded_and_nothing_is_listed() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        lines = event("ADDED", item("a", 101)) + event("MODIFIED", item("a", 102)) + event("DELETED", item("a", 103))
        return await stream(request, lines, event("ADDED", item("b", 104)))

    async with following(script) as (gateway, forwarded):
        await eventually_here(lambda: "b" in forwarded, "all is forwarded")
        assert forwarded == ["a", "a", "b"]
        assert begins(gateway) == ["100"]


async def test_a_broken_watch_goes_on_where_it_ended() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if request.query["resourceVersion"] == "100":
            gateway.newest = "150"
            return await stream(request, event("ADDED", item("a", 101)), b"<html>oops</html>\n")
        return await stream(request, event("ADDED", item("b", 102)))

    async with following(script) as (gateway, forwarded):
        await eventually_here(lambda: "b" in forwarded, "it goes on")
        assert forwarded == ["a", "b"]
        assert begins(gateway) == ["100", "101"]


async def test_after_a_410_it_begins_again_now() -> None:
    for as_event in (False, True):

        async def script(request: web.Request, as_event: bool = as_event) -> web.StreamResponse:
            if request.query["resourceVersion"] == "100":
                gateway.newest = "300"
                return await stream(request, gone_event(), stay=False) if as_event else failure(410, "Expired")
            return await stream(request, event("ADDED", item("b", 301)))

        async with following(script) as (gateway, forwarded):
            await eventually_here(lambda: "b" in forwarded, "it goes on")
            assert begins(gateway) == ["100", "300"]


async def test_after_a_restore_of_the_server_it_begins_again_now() -> None:
    """A watch from a version that the server has not reached yet would be silent."""

    async def script(request: web.Request) -> web.StreamResponse:
        if request.query["resourceVersion"] == "100":
            gateway.newest = "50"
            return await stream(request, event("ADDED", item("a", 101)), stay=False)
        return await stream(request, event("ADDED", item("b", 51)))

    async with following(script) as (gateway, forwarded):
        await eventually_here(lambda: "b" in forwarded, "it goes on")
        assert begins(gateway) == ["100", "50"]


async def test_a_server_that_refuses_is_asked_with_growing_pauses() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(403, "Forbidden")

    async with following(script) as (gateway, _forwarded):
        await asyncio.sleep(1.0)
        assert 1 <= len(gateway.asked) < 20
