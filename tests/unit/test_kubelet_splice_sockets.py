"""Two spliced connections over sockets: all bytes arrive in order, and memory is bounded."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
import trustme
import uvloop

from tests.waiting import eventually_here
from vk_provider.kubelet.splice import Splice


class _Silent(asyncio.Protocol):
    """The original protocol of a connection, before the splice."""


@contextlib.asynccontextmanager
async def spliced_sockets() -> AsyncIterator[tuple[socket.socket, socket.socket, list[asyncio.Transport]]]:
    """The outer ends of two socket pairs with spliced inner ends, and the transports of the inner ends."""
    loop = asyncio.get_running_loop()
    pairs = [socket.socketpair() for _ in range(2)]
    for pair in pairs:
        for end in pair:
            end.setblocking(False)
    inner = [(await loop.create_connection(_Silent, sock=pair[1]))[0] for pair in pairs]
    splice = Splice(inner[0], inner[1], one_lost=lambda _: None, other_lost=lambda _: None, idle_seconds=60)
    try:
        yield pairs[0][0], pairs[1][0], inner
    finally:
        for transport in inner:
            transport.abort()
        await splice.done.wait()
        for pair in pairs:
            pair[0].close()


async def test_a_stalled_reader_pauses_the_writer_and_memory_stays_bounded() -> None:
    loop = asyncio.get_running_loop()
    payload = random.Random(1).randbytes(8 << 20)
    async with spliced_sockets() as (writer, reader, inner):
        sending = asyncio.create_task(loop.sock_sendall(writer, payload))
        await eventually_here(lambda: not inner[0].is_reading(), "the writer is paused")
        assert inner[1].get_write_buffer_size() < 1 << 20
        assert not sending.done()
        received = bytearray()
        while len(received) < len(payload):
            received += await loop.sock_recv(reader, 1 << 16)
        await sending
        assert received == payload
        assert inner[0].is_reading()


async def test_bytes_sent_before_the_end_arrive_before_the_end() -> None:
    loop = asyncio.get_running_loop()
    payload = random.Random(2).randbytes(2 << 20)
    async with spliced_sockets() as (writer, reader, _):

        async def send() -> None:
            await loop.sock_sendall(writer, payload)
            writer.close()

        sending = asyncio.create_task(send())
        received = bytearray()
        while data := await loop.sock_recv(reader, 1 << 16):
            received += data
        await sending
        assert received == payload


@pytest.mark.parametrize("kilobytes", [300, 600, 700, 800])
@pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_bytes_sent_over_tls_arrive_although_the_sender_closes_while_the_reader_stalls(
    factory: Callable[[], asyncio.AbstractEventLoop], kilobytes: int
) -> None:
    """The sizes are below and above the one at which a splice pauses reading."""
    payload = random.Random(kilobytes).randbytes(kilobytes * 1000)
    authority, presented = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("member").configure_cert(presented)
    trusted = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    (sender, far), (reader, near) = socket.socketpair(), socket.socketpair()
    sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)  # room for all that the splice does not read

    def send() -> None:
        """Sends everything and closes the connection without a TLS shutdown, as API servers do."""
        with presented.wrap_socket(sender, server_side=True) as connection:
            connection.sendall(payload)

    async def received() -> bytes:
        loop = asyncio.get_running_loop()
        sending = asyncio.create_task(asyncio.to_thread(send))
        one, _ = await loop.create_unix_connection(_Silent, sock=near)
        other, _ = await loop.create_unix_connection(_Silent, sock=far, ssl=trusted, server_hostname="member")
        splice = Splice(one, other, one_lost=lambda _: None, other_lost=lambda _: None, idle_seconds=60)
        await sending
        data = bytearray()
        while chunk := await loop.sock_recv(reader, 1 << 16):
            data += chunk
        await splice.done.wait()
        return bytes(data)

    reader.setblocking(False)
    with reader, asyncio.Runner(loop_factory=factory) as runner:
        found = runner.run(received())
        assert (len(found), found == payload) == (len(payload), True)


async def test_both_directions_flow_at_the_same_time() -> None:
    loop = asyncio.get_running_loop()
    payloads = [random.Random(seed).randbytes(2 << 20) for seed in (3, 4)]
    async with spliced_sockets() as (one, other, _):

        async def receive(end: socket.socket, size: int) -> bytes:
            received = bytearray()
            while len(received) < size:
                received += await loop.sock_recv(end, 1 << 16)
            return bytes(received)

        results = await asyncio.gather(
            loop.sock_sendall(one, payloads[0]),
            loop.sock_sendall(other, payloads[1]),
            receive(other, len(payloads[0])),
            receive(one, len(payloads[1])),
        )
        assert list(results[2:]) == payloads
