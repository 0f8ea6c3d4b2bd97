"""The informer's cache after answers to the provider's own writes."""

from __future__ import annotations

import asyncio

from aiohttp import web

from tests.gateway import Gateway, bookmark, event, failure, item, stream
from tests.integration.watching import begin, payload, watching
from tests.waiting import eventually_here


async def test_an_answer_to_a_write_does_not_restore_an_object_that_the_watch_deleted() -> None:
    proceed = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        answer = await begin(request, bookmark(10, end_of_list=True))
        await proceed.wait()
        await answer.write(event("ADDED", item("a", 11)) + event("DELETED", item("a", 12)))
        await asyncio.Event().wait()
        return answer

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        created = payload("a", 11)
        seen.informer.observe(created)
        assert seen.names == {"a"}
        proceed.set()
        await eventually_here(lambda: not seen.names, "the cache has the deletion")
        seen.informer.observe(created)
        assert seen.names == set()
        assert seen.calls == [("added", "a"), ("deleted", "a")]


async def test_the_deletion_of_an_object_does_not_remove_the_one_that_replaced_it() -> None:
    proceed = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        answer = await begin(request, event("ADDED", item("a", 5)), bookmark(10, end_of_list=True))
        await proceed.wait()
        await answer.write(
            event("DELETED", item("a", 11)) + event("ADDED", item("a", 12)) + event("ADDED", item("b", 13))
        )
        await asyncio.Event().wait()
        return answer

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        seen.informer.observe(payload("a", 12))
        proceed.set()
        await eventually_here(lambda: "b" in seen.names, "the watch is current")
        assert seen.calls == [("added", "a"), ("changed", "a"), ("added", "b")]
        assert seen.informer.items["ns/a"].metadata.resource_version == "12"


async def test_an_older_answer_to_a_write_does_not_undo_a_newer_event() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return await stream(request, bookmark(10, end_of_list=True), event("ADDED", item("a", 14)))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: seen.names == {"a"}, "the object is in the cache")
        for version in (9, 13, 14):
            seen.informer.observe(payload("a", version))
        assert seen.informer.items["ns/a"].metadata.resource_version == "14"
        assert seen.calls == [("added", "a")]


async def test_an_answer_to_a_write_survives_a_list_that_is_older() -> None:
    proceed, listing = asyncio.Event(), asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" not in request.query:
            return failure(410, "Expired")
        if len(gateway.asked) == 1:
            return await stream(request, bookmark(10, end_of_list=True), stay=False)
        answer = await begin(request, event("ADDED", item("b", 11)))
        listing.set()
        await proceed.wait()
        await answer.write(bookmark(12, end_of_list=True) + event("ADDED", item("c", 21)))
        await answer.write(event("DELETED", item("a", 22)))
        await asyncio.Event().wait()
        return answer

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await asyncio.wait_for(listing.wait(), 30)
        seen.informer.observe(payload("a", 20))
        proceed.set()
        await eventually_here(lambda: seen.names == {"b", "c"}, "the cache has the later deletion")
        assert seen.calls == [("added", "a"), ("added", "b"), ("added", "c"), ("deleted", "a")]
