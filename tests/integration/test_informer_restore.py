"""The informer after an API server's data was restored from a backup."""

from __future__ import annotations

import asyncio

from aiohttp import web

from tests.gateway import Gateway, bookmark, event, failure, item, stream
from tests.integration.watching import payload, watching
from tests.waiting import eventually_here


async def test_a_restored_server_is_listed_before_it_is_watched() -> None:
    """A watch from a version that the server has not reached yet would be silent."""
    rewinds: list[set[str]] = []

    async def script(request: web.Request) -> web.StreamResponse:
        if sum(asked.lists for asked in gateway.asked) == 1:
            old = [event("ADDED", item(*it)) for it in (("same", 3), ("lost", 80), ("undone", 90), ("changed", 70))]
            gateway.newest = "50"
            return await stream(request, *old, bookmark(100, end_of_list=True), stay=False)
        changed = event("MODIFIED", item("same", 51))
        if "sendInitialEvents" not in request.query:  # all watches restart once one detects the restore
            assert gateway.newest == "51", "the list precedes the watch"
            return await stream(request, changed)
        gateway.newest = "51"
        backup = [event("ADDED", item(*it)) for it in (("same", 3), ("undone", 5), ("back", 6), ("changed", 7))]
        return await stream(request, *backup, bookmark(50, end_of_list=True), changed)

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        seen.informer.on_restore(lambda: rewinds.append(seen.names))
        await eventually_here(lambda: ("changed", "same") in seen.calls, "the watch continues")
        assert sorted(seen.calls[4:-1]) == [
            ("added", "back"),
            ("changed", "changed"),
            ("changed", "undone"),
            ("deleted", "lost"),
        ]
        assert seen.informer.items["ns/undone"].metadata.resource_version == "5"
        assert rewinds == [{"same", "undone", "back", "changed"}]
        seen.informer.observe(payload("written", 52))
        assert "written" in seen.names, "resourceVersions of the backup are accepted"


async def test_an_informer_lists_again_after_another_one_notes_a_restore() -> None:
    """This does not depend on its own resourceVersions, which may have caught up."""

    async def script(request: web.Request) -> web.StreamResponse:
        assert "sendInitialEvents" in request.query
        version = 10 * len(gateway.asked)
        return await stream(request, event("ADDED", item("a", version)), bookmark(version, end_of_list=True))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        rewinds: list[str] = []
        seen.informer.on_restore(lambda: rewinds.append(seen.informer.items["ns/a"].metadata.resource_version))
        await eventually_here(lambda: seen.names == {"a"}, "the informer watches")
        client.note_restore()
        await eventually_here(lambda: rewinds == ["20"], "the restore is announced once the list is complete")
        assert client.restores == 1


async def test_a_write_that_a_restore_undid_is_detected_although_the_watch_never_showed_it() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            first = len(gateway.asked) == 1
            return await stream(request, bookmark(10 if first else 15, end_of_list=True), stay=not first)
        await observed.wait()
        return await stream(request, stay=False)

    observed = asyncio.Event()
    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: len(gateway.asked) == 2, "the informer watches")
        seen.informer.observe(payload("a", 20))
        gateway.newest = "15"
        observed.set()
        await eventually_here(lambda: not seen.names, "the object is deleted")


async def test_a_list_replaces_the_cache_although_resource_versions_have_caught_up() -> None:
    """New resourceVersions exceed the lost ones, and the lost version of `a` is larger than its current one."""

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" not in request.query:
            return failure(410, "Expired")
        if len(gateway.asked) == 1:
            return await stream(request, event("ADDED", item("a", 90)), bookmark(100, end_of_list=True), stay=False)
        return await stream(request, event("ADDED", item("a", 7)), bookmark(200, end_of_list=True))

    async with Gateway(script) as gateway, gateway.client() as client, watching(client) as seen:
        await eventually_here(lambda: len(seen.calls) == 2, "the object is changed")
        assert seen.informer.items["ns/a"].metadata.resource_version == "7"
