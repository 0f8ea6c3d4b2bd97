"""Streams and logs to clients that read slowly: memory stays bounded, and no byte is lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.cluster import Cluster
from tests.integration.serving import POD, request_bytes, serving
from tests.integration.stream_member import SOON, SWITCHING, Member, Reader, Writer, both_ways, opened
from tests.waiting import eventually_here
from vk_provider.kubelet.splice import is_received


async def test_a_stalled_reader_of_a_log_pauses_the_member(parent: Cluster) -> None:
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
            await asyncio.sleep(0.5)  # until no more bytes flow
        assert sent < 64 << 20  # the buffers of sockets and TLS
        writer.transport.abort()
        await eventually_here(lambda: member.open == 0, "the member's connection is closed", SOON)


@pytest.mark.parametrize("kilobytes", [100, 1000, 2000])
async def test_the_last_bytes_of_the_member_arrive_although_the_client_keeps_sending(
    parent: Cluster, kilobytes: int
) -> None:
    """A client that acknowledges received data keeps sending while the rest of a closed stream is in transit.

    The member closes when the provider's kernel has everything: what is still in the member's kernel, TCP drops when
    the member receives more data after that.
    """
    size = kilobytes * 1000

    async def send_all(_reader: Reader, writer: Writer) -> None:
        writer.write(b"x" * size)
        await eventually_here(lambda: is_received(both_ways(writer.transport)), "the kernel has delivered everything")

    member = Member(SWITCHING, send_all)
    async with serving(parent, raw=member.serve) as served:
        reader, writer, _ = await opened(served)
        client = Talkative(writer.transport)
        reader.feed_eof()
        client.received = len(await reader.read())
        await eventually_here(lambda: member.open == 0, "the member has sent everything")
        client.read_and_answer()
        await eventually_here(
            lambda: client.received == size or client.ended, "the client has received everything, or the end", 60
        )
        assert client.received == size
        writer.transport.abort()


class Talkative(asyncio.Protocol):
    """Replaces the protocol of a connection, and answers all received data."""

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
async def test_a_log_that_ends_while_its_reader_stalls_arrives_completely(parent: Cluster, kilobytes: int) -> None:
    """The member's data waits in buffers, and the member may have closed its connection."""
    line = b"x" * 999 + b"\n"
    sent = 0

    async def send_all(_reader: Reader, writer: Writer) -> None:
        nonlocal sent
        for _ in range(kilobytes):
            sent += 1
            writer.write(b"3e8\r\n" + line + b"\r\n")
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        await writer.drain()

    member = Member(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", send_all)
    async with serving(parent, raw=member.serve) as served:
        _, writer = await served.connect(served.tls(served.apiserver))
        log = Collector(writer.transport)
        writer.write(request_bytes("GET", f"/containerLogs/{POD}/app?follow=true"))
        await eventually_here(lambda: len(log.data) > 0, "the log has started")
        log.pause()
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)  # until no more bytes flow
        log.resume()
        await eventually_here(lambda: log.ended or log.data.endswith(b"\r\n0\r\n\r\n"), "the log ends")
        body = bytes(log.data.partition(b"\r\n\r\n")[2])
        assert (body.count(b"x"), body.endswith(b"0\r\n\r\n")) == (kilobytes * 999, True)
        writer.transport.abort()
    (head,) = member.heads
    assert "Connection: keep-alive" in head, "without keep-alive, a slow reader loses data that is not parsed yet"


class Collector(asyncio.Protocol):
    """Replaces the protocol of a connection, and collects all received data."""

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
