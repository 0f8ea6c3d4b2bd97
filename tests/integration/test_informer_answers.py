"""The informer against answers that a real API server gives rarely: scripted, one rule at a time."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from aiohttp import web

from tests.gateway import Gateway, bookmark, event, failure, gone_event, item, stream
from tests.integration.watching import Longest, watching
from tests.waiting import eventually_here
from vk_provider.kube.objects import Metadata, Payload
from vk_provider.sync.pods.events import member_events


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
        await eventually_here(lambda: gateway.asked[-1].query.get("resourceVersion") == "900", "it resumes there")
        assert [asked.lists for asked in gateway.asked] == [True, False, False]
        assert seen.calls == [("added", "a")]


async def test_a_410_of_either_form_leads_to_one_list_that_tells_exactly_what_differs() -> None:
    for as_event in (False, True):
        lists = 0

        async def script(request: web.Request, as_event: bool = as_event) -> web.StreamResponse:
            nonlocal lists
            if "sendInitialEvents" in request.query:
                lists += 1
                old = [item("same", 1), item("changes", 2), item("goes", 3)]
                new = [item("same", 1), item("changes", 7), item("new", 8)]
                events = [event("ADDED", it) for it in (old if lists == 1 else new)]
                return await stream(request, *events, bookmark(lists * 10, end_of_list=True), stay=lists > 1)
            return await stream(request, gone_event(), stay=False) if as_event else failure(410, "Expired")

        async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
            await eventually_here(lambda: seen.names == {"same", "changes", "new"}, "the new list is in")
            assert sorted(seen.calls[3:]) == [("added", "new"), ("changed", "changes"), ("deleted", "goes")]
            assert lists == 2


async def test_an_error_event_is_understood_whatever_objects_the_informer_is_for() -> None:
    """A Status has nothing that an Event of the member must have."""

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return await stream(request, bookmark_of_events(5), stay=len(gateway.asked) > 1)
        return await stream(request, gone_event(), stay=False)

    async with Gateway(script) as gateway, gateway.client() as client:
        informer = member_events(client)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(informer.run())
            await eventually_here(lambda: sum(asked.lists for asked in gateway.asked) == 2, "it lists again")
            task.cancel()


async def test_a_server_that_always_answers_410_is_asked_with_growing_pauses() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(410, "Expired")

    async with Gateway(script) as gateway, gateway.client() as client, watching(client, rng=Longest(), wait=False):
        await eventually_here(lambda: len(gateway.asked) >= 5, "it asks again and again")
        pauses = gaps([asked.at for asked in gateway.asked[:5]])
        assert pauses[-1] >= 0.7, pauses


async def test_a_server_that_hangs_up_at_once_is_asked_with_growing_pauses() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return await stream(request, bookmark(5, end_of_list=True), stay=False)
        return await stream(request, stay=False)

    async with Gateway(script) as gateway, gateway.client() as client, watching(client, rng=Longest()):
        await eventually_here(lambda: len(gateway.asked) >= 6, "it asks again and again")
        pauses = gaps([asked.at for asked in gateway.asked[:6]])
        assert pauses[-1] >= 1.5, pauses
        assert sum(asked.lists for asked in gateway.asked) == 1


async def test_a_429_is_waited_for_as_long_as_it_says() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if len(gateway.asked) == 1:
            return failure(429, "TooManyRequests", Retry_After="1")
        return await stream(request, bookmark(5, end_of_list=True))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client):
        (pause,) = gaps([asked.at for asked in gateway.asked])
        assert 1.0 <= pause < 5.0


async def test_an_object_deleted_while_the_list_streams_is_not_there() -> None:
    """The first events come from a cache that may be older than the list has to be; what follows catches up."""

    async def script(request: web.Request) -> web.StreamResponse:
        return await stream(
            request,
            event("ADDED", item("stays", 1)),
            event("ADDED", item("goes", 2)),
            event("DELETED", item("goes", 4)),
            event("MODIFIED", item("stays", 5)),
            bookmark(6, end_of_list=True),
        )

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        assert seen.names == {"stays"}
        assert seen.calls == [("added", "stays")]
        assert seen.informer.items["ns/stays"].metadata.resource_version == "5"


async def test_a_list_that_breaks_off_changes_nothing() -> None:
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
        await eventually_here(lambda: sum(asked.lists for asked in gateway.asked) == 3, "it lists once more")
        assert seen.names == {"a", "b"}
        assert seen.calls == [("added", "a"), ("added", "b")]


async def test_a_line_that_is_no_event_is_a_broken_stream_and_nothing_is_lost() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        match request.query.get("resourceVersion"):
            case None:
                return await stream(request, bookmark(5, end_of_list=True), stay=False)
            case "5":
                return await stream(request, event("ADDED", item("a", 6)), b"<html>oops</html>\n")
            case _:
                return await stream(request, event("ADDED", item("b", 7)))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: seen.names == {"a", "b"}, "both are there")
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
        await eventually_here(lambda: len(gateway.asked) == 5, "it watches")
        assert len(seen.names) == len(seen.calls) == 1200
        assert [asked.query.get("limit") for asked in gateway.asked] == [None, "500", "500", "500", None]
        assert gateway.asked[-1].query["resourceVersion"] == "5000"


async def test_a_page_token_that_expired_starts_the_list_over() -> None:
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


async def test_an_answer_to_a_write_never_brings_back_what_the_watch_saw_go() -> None:
    go_on = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        answer = await begin(request, bookmark(10, end_of_list=True))
        await go_on.wait()
        await answer.write(event("ADDED", item("a", 11)) + event("DELETED", item("a", 12)))
        await asyncio.Event().wait()
        return answer

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        created = payload("a", 11)
        seen.informer.observe(created)
        assert seen.names == {"a"}
        go_on.set()
        await eventually_here(lambda: not seen.names, "the deletion is in")
        seen.informer.observe(created)
        assert seen.names == set()
        assert seen.calls == [("added", "a"), ("deleted", "a")]


async def test_the_deletion_of_an_object_does_not_remove_the_one_that_replaced_it() -> None:
    go_on = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        answer = await begin(request, event("ADDED", item("a", 5)), bookmark(10, end_of_list=True))
        await go_on.wait()
        await answer.write(
            event("DELETED", item("a", 11)) + event("ADDED", item("a", 12)) + event("ADDED", item("b", 13))
        )
        await asyncio.Event().wait()
        return answer

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        seen.informer.observe(payload("a", 12))
        go_on.set()
        await eventually_here(lambda: "b" in seen.names, "the watch is through")
        assert seen.calls == [("added", "a"), ("changed", "a"), ("added", "b")]
        assert seen.informer.items["ns/a"].metadata.resource_version == "12"


async def test_an_older_answer_to_a_write_does_not_undo_a_newer_event() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return await stream(request, bookmark(10, end_of_list=True), event("ADDED", item("a", 14)))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: seen.names == {"a"}, "it is there")
        for version in (9, 13, 14):
            seen.informer.observe(payload("a", version))
        assert seen.informer.items["ns/a"].metadata.resource_version == "14"
        assert seen.calls == [("added", "a")]


async def test_an_answer_to_a_write_survives_a_list_that_is_older() -> None:
    go_on, listing = asyncio.Event(), asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" not in request.query:
            return failure(410, "Expired")
        if len(gateway.asked) == 1:
            return await stream(request, bookmark(10, end_of_list=True), stay=False)
        answer = await begin(request, event("ADDED", item("b", 11)))
        listing.set()
        await go_on.wait()
        await answer.write(bookmark(12, end_of_list=True) + event("ADDED", item("c", 21)))
        await answer.write(event("DELETED", item("a", 22)))
        await asyncio.Event().wait()
        return answer

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await asyncio.wait_for(listing.wait(), 30)
        seen.informer.observe(payload("a", 20))
        go_on.set()
        await eventually_here(lambda: seen.names == {"b", "c"}, "the deletion that came later is in")
        assert seen.calls == [("added", "a"), ("added", "b"), ("added", "c"), ("deleted", "a")]


async def test_a_server_that_went_back_in_time_is_listed_before_it_is_watched() -> None:
    """A watch from a version that it has not reached yet would be silent."""
    rewinds: list[set[str]] = []

    async def script(request: web.Request) -> web.StreamResponse:
        if sum(asked.lists for asked in gateway.asked) == 1:
            old = [event("ADDED", item(*it)) for it in (("same", 3), ("lost", 80), ("undone", 90), ("changed", 70))]
            gateway.newest = "50"
            return await stream(request, *old, bookmark(100, end_of_list=True), stay=False)
        changed = event("MODIFIED", item("same", 51))
        if "sendInitialEvents" not in request.query:  # all watches begin anew once one has found out, its own too
            assert gateway.newest == "51", "it is listed first"
            return await stream(request, changed)
        gateway.newest = "51"
        backup = [event("ADDED", item(*it)) for it in (("same", 3), ("undone", 5), ("back", 6), ("changed", 7))]
        return await stream(request, *backup, bookmark(50, end_of_list=True), changed)

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        seen.informer.on_restore(lambda: rewinds.append(seen.names))
        await eventually_here(lambda: ("changed", "same") in seen.calls, "it watches on")
        assert sorted(seen.calls[4:-1]) == [
            ("added", "back"),
            ("changed", "changed"),
            ("changed", "undone"),
            ("deleted", "lost"),
        ]
        assert seen.informer.items["ns/undone"].metadata.resource_version == "5"
        assert rewinds == [{"same", "undone", "back", "changed"}]
        seen.informer.observe(payload("written", 52))
        assert "written" in seen.names, "versions count from the backup on"


async def test_who_hears_of_a_restore_from_another_lists_anew_and_tells_it_on() -> None:
    """Whatever its own versions say: they may have caught up with what was lost."""

    async def script(request: web.Request) -> web.StreamResponse:
        assert "sendInitialEvents" in request.query
        version = 10 * len(gateway.asked)
        return await stream(request, event("ADDED", item("a", version)), bookmark(version, end_of_list=True))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        rewinds: list[str] = []
        seen.informer.on_restore(lambda: rewinds.append(seen.informer.items["ns/a"].metadata.resource_version))
        await eventually_here(lambda: seen.names == {"a"}, "it watches")
        client.note_restore()
        await eventually_here(lambda: rewinds == ["20"], "it is told once the list has come")
        assert client.restores == 1


async def test_a_write_that_a_backup_undid_is_noticed_although_the_watch_had_not_seen_it() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            first = len(gateway.asked) == 1
            return await stream(request, bookmark(10 if first else 15, end_of_list=True), stay=not first)
        await observed.wait()
        return await stream(request, stay=False)

    observed = asyncio.Event()
    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: len(gateway.asked) == 2, "it watches")
        seen.informer.observe(payload("a", 20))
        gateway.newest = "15"
        observed.set()
        await eventually_here(lambda: not seen.names, "it is gone")


async def test_a_list_after_more_writes_than_were_lost_is_the_truth_all_the_same() -> None:
    """The backup's history has overtaken the lost one: no version tells, and `a` was changed last in the lost one."""

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" not in request.query:
            return failure(410, "Expired")
        if len(gateway.asked) == 1:
            return await stream(request, event("ADDED", item("a", 90)), bookmark(100, end_of_list=True), stay=False)
        return await stream(request, event("ADDED", item("a", 7)), bookmark(200, end_of_list=True))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: len(seen.calls) == 2, "it is changed")
        assert seen.informer.items["ns/a"].metadata.resource_version == "7"


async def test_a_server_that_ignores_the_wish_for_a_streaming_list_is_listed_in_pages() -> None:
    """Before 1.27: what it takes for a plain watch has no end of a list, but bookmarks and new objects."""
    for line in (bookmark(7), event("ADDED", item("b", 7))):

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
            await eventually_here(lambda: len(gateway.asked) == 3, "it watches")
            assert gateway.asked[-1].query["resourceVersion"] == "9"


def payload(name: str, version: int) -> Payload:
    return Payload(Metadata(name=name, namespace="ns", uid=f"uid-{name}", resource_version=str(version)))


async def begin(request: web.Request, *lines: bytes) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    for line in lines:
        await answer.write(line)
    return answer


def bookmark_of_events(version: int) -> bytes:
    return bookmark(version, end_of_list=True).replace(b'"metadata"', b'"involvedObject": {}, "metadata"')


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]
