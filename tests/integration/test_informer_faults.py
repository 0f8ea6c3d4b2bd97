"""The informer against a real API server, over a network with faults."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from functools import partial

import pytest
from aiohttp import web

from tests.cluster import Cluster, Request
from tests.gateway import Gateway, failure
from tests.integration.connecting import admin_token, client_through
from tests.integration.watching import watching
from tests.proxy import Proxy
from tests.waiting import eventually_here
from vk_provider.errors import ConflictError, NotFoundError, UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Payload
from vk_provider.kube.resources import CONFIG_MAPS

WATCHED = "watched"  # label key: its value is the namespace, so that the audit log distinguishes tests


def put(cluster: Cluster, namespace: str, name: str, size: int = 1) -> None:
    metadata = {"name": name, "labels": {WATCHED: namespace}}
    cluster.create(CONFIG_MAPS, {"metadata": metadata, "data": {"value": "x" * size}}, namespace)


def change(cluster: Cluster, namespace: str, name: str, value: str = "changed") -> None:
    cluster.patch(CONFIG_MAPS, name, {"data": {"value": value}}, namespace)


async def test_the_list_and_every_change_arrive_once_and_in_order(
    parent: Cluster, client: Client, namespace: str
) -> None:
    for name in "ab":
        put(parent, namespace, name)
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen:
        assert sorted(seen.calls) == [("added", "a"), ("added", "b")]
        put(parent, namespace, "c")
        change(parent, namespace, "a")
        parent.delete(CONFIG_MAPS, "b", namespace)
        put(parent, namespace, "b")
        parent.delete(CONFIG_MAPS, "c", namespace)
        await eventually_here(lambda: len(seen.calls) == 7, "all changes are received")
        expected = [("added", "c"), ("changed", "a"), ("deleted", "b"), ("added", "b"), ("deleted", "c")]
        assert seen.calls[2:] == expected
        assert seen.names == {"a", "b"}


async def test_more_objects_than_a_page_holds_are_listed_without_streaming(parent: Cluster, namespace: str) -> None:
    for number in range(620):
        put(parent, namespace, f"c{number}")

    async def script(request: web.Request) -> web.StreamResponse | None:
        return failure(422, "Invalid") if "sendInitialEvents" in request.query else None

    async with (
        Gateway(script, parent.server, f"Bearer {admin_token(parent)}") as gateway,
        gateway.client() as client,
        watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen,
    ):
        assert len(seen.names) == len(seen.calls) == 620
        assert sum(asked.query.get("limit") == "500" for asked in gateway.asked) == 2
        parent.delete(CONFIG_MAPS, "c0", namespace)
        await eventually_here(lambda: seen.calls[620:] == [("deleted", "c0")], "the watch resumes there")


async def test_a_watch_that_is_cut_within_an_event_resumes_after_the_last_complete_one(
    parent: Cluster, proxy: Proxy, client: Client, namespace: str
) -> None:
    position = parent.audit_position()
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen:
        put(parent, namespace, "before")
        await eventually_here(lambda: seen.names == {"before"}, "the stream is open")
        proxy.cut_after(300_000)
        put(parent, namespace, "large", 900_000)
        await eventually_here(lambda: "large" in seen.names, "it arrives over the next watch")
        assert len(seen.informer.items[f"{namespace}/large"].data["value"]) == 900_000
        assert seen.calls == [("added", "before"), ("added", "large")]
        assert relists(parent, position, namespace) == 1


@pytest.mark.parametrize("fault", ["cut", "reset"])
async def test_a_stream_that_ends_is_resumed_without_a_list(
    parent: Cluster, proxy: Proxy, client: Client, namespace: str, fault: str
) -> None:
    position = parent.audit_position()
    put(parent, namespace, "a")
    put(parent, namespace, "b")
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen:
        for round_ in range(5):
            getattr(proxy, fault)()
            put(parent, namespace, f"new{round_}")
            change(parent, namespace, "a", str(round_))
            parent.delete(CONFIG_MAPS, f"new{round_}", namespace)
            received = 2 + 3 * (round_ + 1)
            await eventually_here(partial(has, seen.calls, received), "its changes are received")
        assert seen.names == {"a", "b"}
        kinds = [kind for kind, _ in seen.calls[2:]]
        assert kinds == ["added", "changed", "deleted"] * 5
        assert relists(parent, position, namespace) == 1


async def test_a_silent_connection_is_detected_and_no_event_is_lost(
    parent: Cluster, proxy: Proxy, client: Client, namespace: str
) -> None:
    put(parent, namespace, "old")
    position = parent.audit_position()
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}", inactivity=1.5) as seen:
        proxy.swallow()
        proxy.restore()
        put(parent, namespace, "new")
        parent.delete(CONFIG_MAPS, "old", namespace)
        assert seen.names == {"old"}, "the cache is not updated yet"
        await eventually_here(lambda: seen.names == {"new"}, "the cache is current")
        assert seen.calls == [("added", "old"), ("added", "new"), ("deleted", "old")]
        assert relists(parent, position, namespace) == 1


async def test_an_idle_watch_detects_a_link_that_drops_packets(
    alpha: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="vk_provider.kube.informer")
    async with client_through(alpha, None, name="") as client, watching(client, "default", inactivity=600) as seen:
        alpha.cut()
        try:
            await eventually_here(lambda: "watch failed" in caplog.messages, "the watch fails", 120)
        finally:
            alpha.heal()
        await asyncio.to_thread(put, alpha, "default", "after-the-cut")
        await eventually_here(lambda: "after-the-cut" in seen.names, "the informer watches again", 120)
        alpha.delete(CONFIG_MAPS, "after-the-cut", "default")


async def test_a_burst_over_a_slow_connection_is_received_without_a_list(
    parent: Cluster, proxy: Proxy, client: Client, namespace: str
) -> None:
    """The API server ends a watch whose reader is too slow for its buffer."""
    position = parent.audit_position()
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen:
        put(parent, namespace, "busy")
        await eventually_here(lambda: seen.names == {"busy"}, "the informer watches")
        proxy.hold()
        for number in range(400):
            await asyncio.to_thread(change, parent, namespace, "busy", f"{number}" * 8000)
        await asyncio.to_thread(put, parent, namespace, "last")
        proxy.restore()
        await eventually_here(lambda: "last" in seen.names, "the cache is current", 60)
        assert seen.informer.items[f"{namespace}/busy"].data["value"] == "399" * 8000
        assert relists(parent, position, namespace) == 1


async def test_an_object_of_a_megabyte_is_received(parent: Cluster, client: Client, namespace: str) -> None:
    put(parent, namespace, "listed", 1_040_000)
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen:
        put(parent, namespace, "watched", 1_040_000)
        await eventually_here(lambda: seen.names == {"listed", "watched"}, "both objects are in the cache")
        assert {len(found.data["value"]) for found in seen.informer.items.values()} == {1_040_000}


async def test_after_a_crash_of_the_api_server_a_list_announces_the_changes(
    parent: Cluster, proxy: Proxy, client: Client, namespace: str
) -> None:
    """A new API server keeps no events from before its start: the watch is too old for it (410)."""
    for name in ("same", "changes", "goes"):
        put(parent, namespace, name)
    position = parent.audit_position()
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen:
        await proxy.refuse()
        change(parent, namespace, "changes")
        parent.delete(CONFIG_MAPS, "goes", namespace)
        put(parent, namespace, "new")
        parent.stop("apiserver")
        await asyncio.to_thread(parent.start, "apiserver")
        await proxy.accept()
        await eventually_here(lambda: seen.names == {"same", "changes", "new"}, "the cache is current", 60)
        assert sorted(seen.calls[3:]) == [("added", "new"), ("changed", "changes"), ("deleted", "goes")]
        put(parent, namespace, "after")
        await eventually_here(lambda: "after" in seen.names, "the watch continues")
        assert relists(parent, position, namespace) == 2


async def test_the_cache_equals_the_server_after_observed_writes_race_with_the_watch(
    parent: Cluster, client: Client, proxy: Proxy, namespace: str
) -> None:
    """Writers observe their answers late, another client deletes objects, and connections break."""
    async with watching(client, namespace, labels=f"{WATCHED}={namespace}") as seen:

        async def write(number: int) -> None:
            metadata = {"name": f"c{number % 7}", "labels": {WATCHED: namespace}}
            with contextlib.suppress(ConflictError, NotFoundError, UnreachableError):
                created = await client.create(CONFIG_MAPS, {"metadata": metadata}, namespace, type=Payload)
                if number % 2:
                    await client.delete(CONFIG_MAPS, created.metadata.name, namespace, uid=created.metadata.uid)
                seen.informer.observe(created)
                body = {"data": {"n": str(number)}}
                answer = await client.patch(CONFIG_MAPS, created.metadata.name, body, namespace, type=Payload)
                seen.informer.observe(answer)
                await client.delete(CONFIG_MAPS, created.metadata.name, namespace)

        for start in range(0, 210, 21):
            await asyncio.gather(*(write(number) for number in range(start, start + 21)))
            proxy.cut()
        put(parent, namespace, "last")
        await eventually_here(lambda: "last" in seen.names, "the watch is current")
        found = parent.list(CONFIG_MAPS, namespace, labels=f"{WATCHED}={namespace}")
        there = {one["metadata"]["name"]: one["metadata"]["resourceVersion"] for one in found}
        assert {one.metadata.name: one.metadata.resource_version for one in seen.informer.items.values()} == there
        assert balanced(seen.calls)


def has(calls: list[tuple[str, str]], count: int) -> bool:
    return len(calls) >= count


def balanced(calls: list[tuple[str, str]]) -> bool:
    """Whether every object was added once before it changed or was deleted."""
    there: set[str] = set()
    for kind, name in calls:
        if (kind == "added") == (name in there):
            return False
        (there.add if kind == "added" else there.discard if kind == "deleted" else lambda _name: None)(name)
    return True


def relists(cluster: Cluster, since: int, namespace: str) -> int:
    """The number of lists of the informer. The audit log contains a watch once its answer has started."""
    mine: list[Request] = []
    deadline = time.monotonic() + 30
    while not mine and time.monotonic() < deadline:
        mine = [
            request
            for request in cluster.requests(since)
            if request.agent == "vk-provider" and f"{WATCHED}%3D{namespace}" in request.uri
            if request.stage == "ResponseStarted" or request.verb == "list"
            if "limit=1&" not in f"{request.uri}&"  # the request for the server's newest version
        ]
    assert any("resourceVersion=" in request.uri for request in mine) or len(mine) == 1
    return sum("sendInitialEvents" in request.uri or request.verb == "list" for request in mine)
