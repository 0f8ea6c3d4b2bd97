"""The informer against scripted answers that a real API server gives rarely."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from aiohttp import web

from tests.gateway import Gateway, bookmark, event, failure, gone_event, item, stream
from tests.integration.watching import Longest, watching
from tests.waiting import eventually_here
from vk_provider.kube.informer import Informer
from vk_provider.kube.resources import EVENTS
from vk_provider.sync.pods.events import MemberEvent


async def test_a_bookmark_moves_the_version_from_which_the_watch_resumes() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        match request.query.get("resourceVersion"):
            case None:
                return await stream(request, event("ADDED", item("a", 3)), bookmark(5, end_of_list=True), stay=False)
            case "5":
                return await stream(request, bookmark(900), stay=False)
            case _:
                return await stream(request)

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(
            lambda: gateway.asked[-1].query.get("resourceVersion") == "900", "the watch resumes there"
        )
        assert [asked.lists for asked in gateway.asked] == [True, False, False]
        assert seen.calls == [("added", "a")]


async def test_a_410_of_either_form_leads_to_one_list_and_only_changes_are_announced() -> None:
    for as_event in (False, True):
        lists = 0

        async def script(request: web.Request, as_event: bool = as_event) -> web.StreamResponse:
            nonlocal lists
            if "sendInitialEvents" in request.query:
                lists += 1
                old = [item("same", 1), item("changes", 2), item("gone", 3)]
                new = [item("same", 1), item("changes", 7), item("new", 8)]
                events = [event("ADDED", it) for it in (old if lists == 1 else new)]
                return await stream(request, *events, bookmark(lists * 10, end_of_list=True), stay=lists > 1)
            return await stream(request, gone_event(), stay=False) if as_event else failure(410, "Expired")

        async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
            await eventually_here(lambda: seen.names == {"same", "changes", "new"}, "the new list is complete")
            assert sorted(seen.calls[3:]) == [("added", "new"), ("changed", "changes"), ("deleted", "gone")]
            assert lists == 2


async def test_an_error_event_is_decoded_by_informers_of_every_type() -> None:
    """A Status lacks the required fields of an Event."""

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return await stream(request, bookmark_of_events(5), stay=len(gateway.asked) > 1)
        return await stream(request, gone_event(), stay=False)

    async with Gateway(script) as gateway, gateway.client() as client:
        informer: Informer[MemberEvent] = Informer(client, EVENTS, MemberEvent)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(informer.run())
            await eventually_here(lambda: sum(asked.lists for asked in gateway.asked) == 2, "the informer lists again")
            task.cancel()


async def test_requests_to_a_server_that_always_answers_410_back_off() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(410, "Expired")

    async with Gateway(script) as gateway, gateway.client() as client, watching(client, rng=Longest(), wait=False):
        await eventually_here(lambda: len(gateway.asked) >= 5, "the informer retries")
        pauses = gaps([asked.at for asked in gateway.asked[:5]])
        assert pauses[-1] >= 0.7, pauses


async def test_requests_to_a_server_that_closes_every_watch_back_off() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return await stream(request, bookmark(5, end_of_list=True), stay=False)
        return await stream(request, stay=False)

    async with Gateway(script) as gateway, gateway.client() as client, watching(client, rng=Longest()):
        await eventually_here(lambda: len(gateway.asked) >= 6, "the informer retries")
        pauses = gaps([asked.at for asked in gateway.asked[:6]])
        assert pauses[-1] >= 1.5, pauses
        assert sum(asked.lists for asked in gateway.asked) == 1


async def test_retry_after_of_a_429_is_honoured() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if len(gateway.asked) == 1:
            return failure(429, "TooManyRequests", Retry_After="1")
        return await stream(request, bookmark(5, end_of_list=True))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client):
        (pause,) = gaps([asked.at for asked in gateway.asked])
        assert 1.0 <= pause < 5.0


async def test_an_object_that_is_deleted_during_a_streaming_list_is_not_in_the_cache() -> None:
    """The first events are from a cache that may be older than the list. The following events update them."""

    async def script(request: web.Request) -> web.StreamResponse:
        return await stream(
            request,
            event("ADDED", item("stays", 1)),
            event("ADDED", item("gone", 2)),
            event("DELETED", item("gone", 4)),
            event("MODIFIED", item("stays", 5)),
            bookmark(6, end_of_list=True),
        )

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        assert seen.names == {"stays"}
        assert seen.calls == [("added", "stays")]
        assert seen.informer.items["ns/stays"].metadata.resource_version == "5"


async def test_an_interrupted_list_changes_nothing() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" not in request.query:
            return failure(410, "Expired")
        match sum(asked.lists for asked in gateway.asked):
            case 1:
                events = [event("ADDED", item(name, 1)) for name in "ab"]
                return await stream(request, *events, bookmark(5, end_of_list=True), stay=False)
            case 2:
                return await stream(request, event("ADDED", item("a", 1)), stay=False)
            case _:
                return await stream(request)

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: sum(asked.lists for asked in gateway.asked) == 3, "the informer lists again")
        assert seen.names == {"a", "b"}
        assert seen.calls == [("added", "a"), ("added", "b")]


async def test_a_malformed_event_restarts_the_watch_without_losing_events() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        match request.query.get("resourceVersion"):
            case None:
                return await stream(request, bookmark(5, end_of_list=True), stay=False)
            case "5":
                return await stream(request, event("ADDED", item("a", 6)), b"<html>oops</html>\n")
            case _:
                return await stream(request, event("ADDED", item("b", 7)))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: seen.names == {"a", "b"}, "both objects are in the cache")
        assert [asked.query.get("resourceVersion") for asked in gateway.asked] == [None, "5", "6"]


async def test_a_server_without_streaming_lists_is_listed_in_pages() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        query = request.query
        if "sendInitialEvents" in query:
            return failure(422, "Invalid", "sendInitialEvents is forbidden for watch unless WatchList is enabled")
        if "watch" in query:
            return await stream(request)
        token = int(query.get("continue", "0"))
        items = [item(f"c{number}", number + 1) for number in range(token, min(token + 500, 1200))]
        metadata = {"resourceVersion": "5000", "continue": str(token + 500) if token < 1000 else ""}
        return web.json_response({"kind": "ConfigMapList", "metadata": metadata, "items": items})

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: len(gateway.asked) == 5, "the informer watches")
        assert len(seen.names) == len(seen.calls) == 1200
        assert [asked.query.get("limit") for asked in gateway.asked] == [None, "500", "500", "500", None]
        assert gateway.asked[-1].query["resourceVersion"] == "5000"


async def test_an_expired_continue_token_restarts_the_list() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return failure(400, "BadRequest")
        if "watch" in request.query:
            return await stream(request)
        if "continue" in request.query:
            return failure(410, "Expired")
        more = "" if len(gateway.asked) > 3 else "next"
        metadata = {"resourceVersion": "9", "continue": more}
        return web.json_response({"metadata": metadata, "items": [item("a", 1)]})

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        assert seen.calls == [("added", "a")]


async def test_a_server_that_ignores_the_request_for_a_streaming_list_is_listed_in_pages() -> None:
    """Servers before 1.27 start a plain watch, with bookmarks and new objects, but without an end of the list."""
    for line in (bookmark(7), event("ADDED", item("b", 7)) + event("MODIFIED", item("b", 8))):

        async def script(request: web.Request, line: bytes = line) -> web.StreamResponse:
            if "sendInitialEvents" in request.query:
                return await stream(request, line)
            if "watch" in request.query:
                return await stream(request)
            return web.json_response({"metadata": {"resourceVersion": "9"}, "items": [item("a", 1), item("b", 7)]})

        async with (
            Gateway(script) as gateway,
            gateway.client() as client,
            watching(client, streaming_list=0.0) as seen,
        ):
            assert seen.names == {"a", "b"}
            await eventually_here(lambda: len(gateway.asked) == 3, "the informer watches")
            assert gateway.asked[-1].query["resourceVersion"] == "9"


def bookmark_of_events(version: int) -> bytes:
    return bookmark(version, end_of_list=True).replace(b'"metadata"', b'"involvedObject": {}, "metadata"')


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]
