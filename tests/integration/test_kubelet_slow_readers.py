"""Streams and logs to clients that read slowly: memory stays bounded, and no byte is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster import Cluster
from tests.integration.serving import POD, request_bytes, serving
from tests.integration.stream_member import SOON, SWITCHING, Member, Reader, Writer, both_ways, opened
from tests.waiting import eventually_here


async def test_a_stalled_reader_of_a_log_holds_the_member_back(parent: Cluster) -> None:
    sent = 0

    async def flood(_reader: Reader, writer: Writer) -> None:
        nonlocal sent
        while True:
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
            sent += 0x10000

    member = Member(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", flood)
    async with serving(parent, raw=member.serve) as served:
        reader, writer = await served.connect(served.tls(served.apiserver))
        writer.write(request_bytes("GET", f"/containerLogs/{POD}/app?follow=true"))
        await reader.readuntil(b"xxx")
        both_ways(writer.transport).pause_reading()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)  # as long as anything moves
        assert sent < 64 << 20  # what sockets and TLS hold
        writer.transport.abort()
        await eventually_here(lambda: member.open == 0, "the member's connection is closed", SOON)


@pytest.mark.parametrize("kilobytes", [100, 1000, 4000])
async def test_what_the_member_said_last_arrives_although_the_client_talks_on(parent: Cluster, kilobytes: int) -> None:
    """A client that acknowledges what it reads goes on talking while the rest of a closed stream is on its way."""
    size = kilobytes * 1000

    async def say_all(_reader: Reader, writer: Writer) -> None:
        writer.write(b"x" * size)
        await writer.drain()

    member = Member(SWITCHING, say_all)
    async with serving(parent, raw=member.serve) as served:
        reader, writer, _ = await opened(served)
        client = Talkative(writer.transport)
        reader.feed_eof()
        client.received = len(await reader.read())
        await eventually_here(lambda: member.open == 0, "the member has said all it had to")
        client.read_and_answer()
        await eventually_here(lambda: client.received == size or client.ended, "the client has it, or an end", 60)
        assert client.received == size
        writer.transport.abort()


class Talkative(asyncio.Protocol):
    """Takes a connection over, and answers whatever it reads."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = both_ways(transport)
        self.received, self.ended = 0, False
        self._transport.pause_reading()
        transport.set_protocol(self)

    def read_and_answer(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._transport.write(b"more")

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True


@pytest.mark.parametrize("kilobytes", [100, 500, 1000, 4000])
async def test_a_log_that_ends_while_its_reader_stalls_arrives_as_a_whole(parent: Cluster, kilobytes: int) -> None:
    """What the member has said waits in buffers on the way, and the member may be gone."""
    line = b"x" * 999 + b"\n"
    said = 0

    async def say_all(_reader: Reader, writer: Writer) -> None:
        nonlocal said
        for _ in range(kilobytes):
            said += 1
            writer.write(b"3e8\r\n" + line + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    member = Member(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", say_all)
    async with serving(parent, raw=member.serve) as served:
        _, writer = await served.connect(served.tls(served.apiserver))
        log = Collector(writer.transport)
        writer.write(request_bytes("GET", f"/containerLogs/{POD}/app?follow=true"))
        await eventually_here(lambda: len(log.data) > 0, "the log begins")
        log.pause()
        before = -1
        while before != said:
            before = said
            await asyncio.sleep(0.5)  # as long as anything moves
        log.resume()
        await eventually_here(lambda: log.ended or log.data.endswith(b"\r\n0\r\n\r\n"), "it ends")
        body = bytes(log.data.partition(b"\r\n\r\n")[2])
        assert (body.count(b"x"), body.endswith(b"0\r\n\r\n")) == (kilobytes * 999, True)
        writer.transport.abort()
    (head,) = member.heads
    assert "Connection: keep-alive" in head, "a member that closes takes from a slow reader what is not parsed yet"


class Collector(asyncio.Protocol):
    """Takes a connection over, and keeps what comes."""

    def __init__(self, transport: asyncio.WriteTransport) -> None:
        self._transport = both_ways(transport)
        self.data, self.ended = bytearray(), False
        transport.set_protocol(self)

    def pause(self) -> None:
        self._transport.pause_reading()

    def resume(self) -> None:
        self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        self.data += data

    def connection_lost(self, error: Exception | None) -> None:
        self.ended = True
