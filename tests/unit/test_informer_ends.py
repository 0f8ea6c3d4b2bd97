"""A watch that cannot be read any further is closed at once, and not after the pause before the next one."""

from __future__ import annotations

import asyncio

from aiohttp import web

from tests.gateway import Gateway, bookmark, stream
from tests.unit.jitter import LongestJitter
from tests.waiting import eventually_here
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Payload
from vk_provider.kube.resources import CONFIG_MAPS


async def test_a_watch_with_a_line_that_is_no_event_is_closed_before_the_pause() -> None:
    closed: list[int] = []  # how many requests had come when it was

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return await stream(request, bookmark(5, end_of_list=True), b"<html>oops</html>\n", stay=False)
        if len(gateway.asked) > 2:
            return await stream(request)
        try:
            return await stream(request, b"<html>oops</html>\n")
        finally:
            closed.append(len(gateway.asked))

    async with Gateway(script) as gateway, gateway.client() as client:
        informer: Informer[Payload] = Informer(client, CONFIG_MAPS, Payload, rng=LongestJitter())
        running = asyncio.create_task(informer.run())
        await eventually_here(lambda: len(gateway.asked) == 3, "it watches again")
        running.cancel()
    assert closed == [2]
