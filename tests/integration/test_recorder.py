"""Repeated Events: one object each, after restarts and after expiry."""

from __future__ import annotations

import asyncio

from aiohttp import web

from tests.cluster import Cluster, Json
from tests.gateway import Gateway
from tests.waiting import eventually_here
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata
from vk_provider.kube.recorder import ForwardedEvent, Recorder
from vk_provider.kube.resources import EVENTS, PODS


def tell(recorder: Recorder, namespace: str, count: int) -> None:
    about = Metadata(name="web", namespace=namespace, uid="11111111-aaaa-4aaa-8aaa-000000000009")
    first, last = "2030-01-01T00:00:00Z", f"2030-01-01T00:00:{count:02}Z"
    forwarded = ForwardedEvent("web.abc", "kubelet", "alpha", "spec.containers{web}", count, first, last)
    recorder.forward(PODS, about, "Warning", "BackOff", "back-off", forwarded)


async def counts(parent: Cluster, namespace: str, wanted: list[int]) -> None:
    def counted() -> bool:
        found: list[Json] = parent.list(EVENTS, namespace, fields="reason=BackOff")
        assert [event["count"] for event in found] == wanted, found
        return True

    await eventually_here(counted, f"the counts of the Events are {wanted}")


async def test_the_count_of_an_event_continues_after_a_restart_and_after_the_event_expires(
    parent: Cluster, client: Client, namespace: str
) -> None:
    for count in (1, 2):  # the second recorder does not know the Events of the first
        recorder = Recorder(client)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(recorder.run())
            tell(recorder, namespace, count)
            await counts(parent, namespace, [count])
            if count == 2:
                parent.delete(EVENTS, "web.abc", namespace)
                tell(recorder, namespace, 3)
                await counts(parent, namespace, [3])
            running.cancel()


async def test_an_event_of_the_provider_is_not_repeated_while_it_is_recent(
    parent: Cluster, client: Client, namespace: str
) -> None:
    recorder = Recorder(client)
    about = Metadata(name="web", namespace=namespace, uid="11111111-aaaa-4aaa-8aaa-000000000009")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(recorder.run())
        for reason in ("NameConflict", "NameConflict", "Last"):
            recorder.event(PODS, about, "Warning", reason, "words")
        await eventually_here(lambda: parent.list(EVENTS, namespace, fields="reason=Last"), "the last Event is written")
        running.cancel()
    assert len(parent.list(EVENTS, namespace, fields="reason=NameConflict")) == 1


async def test_an_event_has_the_time_of_its_server_and_not_of_this_machine() -> None:
    written: list[Json] = []

    async def script(request: web.Request) -> web.Response:
        written.append(await request.json() if request.can_read_body else {})
        answer = {"kind": "Event", "apiVersion": "v1", "metadata": {"name": "it"}}
        return web.json_response(answer, headers={"Date": "Tue, 01 Jan 2030 00:00:00 GMT"})

    async with Gateway(script) as gateway, gateway.client() as client, asyncio.TaskGroup() as group:
        await client.request("GET", "/")
        recorder = Recorder(client)
        running = group.create_task(recorder.run())
        recorder.event(PODS, Metadata(name="web", namespace="shop", uid="1"), "Warning", "NameConflict", "words")
        await eventually_here(lambda: len(written) > 1, "the Event is written")
        running.cancel()
    assert written[-1]["lastTimestamp"].startswith("2030-01-01T00:00:")
