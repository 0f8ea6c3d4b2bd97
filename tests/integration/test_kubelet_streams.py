"""Streams between the parent's API server and a member, and what happens if one of the two breaks off."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web

from tests.cluster import Cluster
from tests.gateway import failure
from tests.integration.serving import POD, Served, request_bytes, serving
from tests.integration.stream_member import SOON, SWITCHING, Member, Reader, Writer, at_once, echo, opened
from tests.waiting import eventually_here
from vk_provider.kubelet import server as module


async def sessions(served: Served) -> int:
    async with served.session(served.tls(served.apiserver)) as session, session.get("/metrics") as response:
        lines = (await response.text()).splitlines()
    return next(int(float(line.split()[1])) for line in lines if line.startswith("vk_provider_kubelet_sessions "))


async def test_the_members_answer_and_all_following_bytes_pass_unchanged(parent: Cluster) -> None:
    member = Member(SWITCHING + b"first", echo)
    async with serving(parent, raw=member.serve) as served:
        reader, writer, head = await opened(served)
        assert head == SWITCHING
        assert await reader.readexactly(5) == b"first"
        writer.write(b"\x00\xff\r\n" * 100_000)
        assert await reader.readexactly(400_000) == b"\x00\xff\r\n" * 100_000
        assert await sessions(served) == 1
        writer.close()
        await eventually_here(lambda: member.open == 0, "the member's connection is closed", SOON)
        assert await sessions(served) == 0


async def test_all_offered_protocols_reach_the_member(parent: Cluster) -> None:
    """They are several headers with the same name. The member chooses one."""
    member = Member()
    async with serving(parent, raw=member.serve) as served:
        _, writer, _ = await opened(served, "command=%ff&command=a+b&input=1&output=1")
        writer.close()
    (head,) = member.heads
    path = "/api/v1/namespaces/shop/pods/web-1/exec"
    assert head[0] == f"POST {path}?command=%ff&command=a+b&stdin=true&stdout=true&container=app HTTP/1.1"
    offered = [line.split(": ")[1] for line in head if line.lower().startswith("x-stream-protocol-version")]
    assert offered == ["v5.channel.k8s.io", "v4.channel.k8s.io", "v3.channel.k8s.io"]
    assert not [line for line in head if line.lower().startswith(("authorization", "cookie"))]


async def gone_at_once(reader: Reader, writer: Writer) -> None:
    """Aborts the connection, so that the data and the end arrive together."""
    writer.transport.abort()


@pytest.mark.parametrize("end", [at_once, gone_at_once])
async def test_a_member_that_closes_the_stream_at_once_leaves_no_connection(
    parent: Cluster, end: Callable[[Reader, Writer], Awaitable[None]]
) -> None:
    member = Member(SWITCHING + b"all there is", end)
    async with serving(parent, raw=member.serve) as served:
        for _ in range(20):
            reader, writer, _ = await opened(served)
            assert await reader.read() == b"all there is"
            writer.close()
        await eventually_here(lambda: served.sockets() == 0, "no connection is left", SOON)
        assert await sessions(served) == 0


@pytest.mark.parametrize("how", ["FIN", "RST"])
async def test_a_client_that_disconnects_closes_the_members_connection_at_once(parent: Cluster, how: str) -> None:
    member = Member()
    async with serving(parent, raw=member.serve) as served:
        _, writer, _ = await opened(served)
        assert member.open == 1
        writer.close() if how == "FIN" else writer.transport.abort()
        await eventually_here(lambda: member.open == 0, "the member's connection is closed", SOON)
        assert await sessions(served) == 0


async def test_a_client_that_disconnects_before_the_member_answers_closes_the_members_connection(
    parent: Cluster,
) -> None:
    member = Member(greeting=b"")
    async with serving(parent, raw=member.serve) as served:
        _, writer = await served.connect(served.tls(served.apiserver))
        writer.write(request_bytes("GET", f"/exec/{POD}/app", Connection="Upgrade", Upgrade="websocket"))
        await eventually_here(lambda: member.heads, "the request reaches the member")
        writer.transport.abort()
        await eventually_here(lambda: member.open == 0, "the member's connection is closed", SOON)


async def test_a_reader_of_a_log_that_disconnects_closes_the_members_connection(parent: Cluster) -> None:
    member = Member(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    async with serving(parent, raw=member.serve) as served:
        reader, writer = await served.connect(served.tls(served.apiserver))
        writer.write(request_bytes("GET", f"/containerLogs/{POD}/app?follow=true"))
        await reader.readuntil(b"abc")
        writer.transport.abort()
        await eventually_here(lambda: member.open == 0, "the member's connection is closed", SOON)


async def test_an_interrupted_log_is_not_presented_as_complete(
    parent: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    member = Member(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", at_once)
    async with serving(parent, raw=member.serve) as served, served.session(served.tls(served.apiserver)) as session:
        async with session.get(f"/containerLogs/{POD}/app") as response:
            with pytest.raises(aiohttp.ClientPayloadError):
                await response.read()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("asked", [f"/containerLogs/{POD}/app", f"/exec/{POD}/app"])
async def test_an_error_of_the_member_passes_with_its_message(parent: Cluster, asked: str) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return failure(403, "Forbidden", 'pods "web-1" is forbidden: no')

    async with serving(parent, refuse) as served, served.session(served.tls(served.apiserver)) as session:
        async with session.get(asked, headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as response:
            assert (response.status, await response.text()) == (403, 'pods "web-1" is forbidden: no')


@pytest.mark.parametrize("asked", [f"/containerLogs/{POD}/app", f"/exec/{POD}/app"])
async def test_a_401_of_the_member_is_not_reported_as_the_users_error(parent: Cluster, asked: str) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        return failure(401, "Unauthorized")

    async with serving(parent, refuse) as served, served.session(served.tls(served.apiserver)) as session:
        async with session.get(asked, headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as response:
            message = "the member behind node kubelet-it does not accept the provider's credential: Unauthorized"
            assert (response.status, await response.text()) == (500, message)


@pytest.mark.parametrize("asked", [f"/containerLogs/{POD}/app", f"/exec/{POD}/app"])
async def test_the_error_about_an_unreachable_member_names_its_server(parent: Cluster, asked: str) -> None:
    async def hang_up(_reader: Reader, writer: Writer) -> None:
        writer.close()

    async with serving(parent, raw=hang_up) as served, served.session(served.tls(served.apiserver)) as session:
        async with session.get(asked, headers={"Connection": "Upgrade", "Upgrade": "websocket"}) as response:
            assert (response.status, served.member.server in await response.text()) == (500, True)


async def test_sessions_beyond_the_limit_are_rejected(parent: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SESSIONS", 2)
    member = Member()
    async with serving(parent, raw=member.serve) as served:
        found = await asyncio.gather(*(opened(served) for _ in range(6)))
        codes = sorted(int(head.split()[1]) for _, _, head in found)
        assert codes == [101, 101, 429, 429, 429, 429]
        assert len(member.heads) == 2
        for _, writer, _ in found:
            writer.transport.abort()
        await eventually_here(lambda: member.open == 0, "the slots are free again", SOON)
        _, writer, head = await opened(served)
        assert head == SWITCHING
        writer.close()


async def test_a_stopping_server_ends_sessions_after_a_grace_period(
    parent: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_GRACE", 0.3)
    member = Member(SWITCHING, echo)
    async with serving(parent, raw=member.serve) as served:
        reader, writer, _ = await opened(served)
    assert member.open == 0
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""
    writer.close()


async def test_running_pods_lists_the_pods_of_the_member(parent: Cluster) -> None:
    async with serving(parent) as served, served.session(served.tls(served.apiserver)) as session:
        for path in ("/pods", "/runningpods/"):
            async with session.get(path) as response:
                (item,) = json.loads(await response.read())["items"]
                assert (item["kind"], item["metadata"]["name"], item["metadata"]["uid"]) == ("Pod", "web-1", "p-1")
