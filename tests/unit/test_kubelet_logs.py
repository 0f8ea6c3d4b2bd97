"""A log that breaks off is not taken for a complete one."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tests.gateway import Gateway, cut_off
from tests.unit.kubelet_server import Parent, Server, request_bytes, running
from tests.waiting import eventually_here

PATH = "/containerLogs/shop/web-1/app?follow=true"
LAST_CHUNK = b"\r\n0\r\n\r\n"


async def begin(request: web.Request) -> web.StreamResponse:
    answer = web.StreamResponse()
    await answer.prepare(request)
    await answer.write(b"first\n")
    return answer


async def goes_on(request: web.Request) -> web.StreamResponse:
    answer = await begin(request)
    await asyncio.Event().wait()
    return answer


async def breaks(request: web.Request) -> web.StreamResponse:
    answer = await begin(request)
    cut_off(request)
    return answer


async def ends(request: web.Request) -> web.StreamResponse:
    return await begin(request)


async def test_a_complete_log_is_passed_on_and_ends_with_its_last_chunk() -> None:
    async with Gateway(ends) as member, member.client() as client, running(Server(Parent(), member=client)) as served:
        reader, writer = await served.connect(certified=True)
        writer.write(request_bytes("GET", PATH))
        body = (await reader.read()).partition(b"\r\n\r\n")[2]
        writer.close()
    assert body == b"6\r\nfirst\n" + LAST_CHUNK


async def test_a_log_that_is_cut_because_the_provider_stops_says_so_and_has_no_last_chunk() -> None:
    async with Gateway(goes_on) as member, member.client() as client:
        async with running(Server(Parent(), member=client)) as served:
            reader, writer = await served.connect(certified=True)
            writer.write(request_bytes("GET", PATH))
            await reader.readuntil(b"first\n")
        rest = await reader.read()
        writer.close()
    assert b'\nthe log of container "app" breaks off here: the provider stops\n' in rest
    assert not rest.endswith(LAST_CHUNK)


async def test_a_log_that_is_cut_because_the_member_is_gone_says_so_and_has_no_last_chunk() -> None:
    async with Gateway(breaks) as member, member.client() as client, running(Server(Parent(), member=client)) as served:
        reader, writer = await served.connect(certified=True)
        writer.write(request_bytes("GET", PATH))
        answer = await reader.read()
        writer.close()
    assert b'\nthe log of container "app" breaks off here: the connection to the member broke' in answer
    assert not answer.endswith(LAST_CHUNK)


async def test_a_reader_that_leaves_ends_the_request_to_the_member(caplog: pytest.LogCaptureFixture) -> None:
    ended = asyncio.Event()

    async def follow(request: web.Request) -> web.StreamResponse:
        try:
            return await goes_on(request)
        finally:
            ended.set()

    async with Gateway(follow) as member, member.client() as client, running(Server(Parent(), member=client)) as served:
        reader, writer = await served.connect(certified=True)
        writer.write(request_bytes("GET", PATH))
        await reader.readuntil(b"first\n")
        writer.transport.abort()
        await eventually_here(ended.is_set, "the request ends")
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []
