"""Joins two upgraded connections: every byte received on one is written to the other, until both are closed.

Nothing is parsed, so every protocol version, incomplete frame and terminal resize passes unchanged. Back-pressure is
that of the transports: a full write buffer on one side pauses reading on the other, so memory stays bounded. A TLS
transport cannot half-close, and every Kubernetes hop closes both halves anyway: when one side ends, the other is closed
as soon as it has received everything. Calling `close` is not enough for that:

- A TLS transport that is closing loses what it has not sent yet if it receives more data, as from clients that
  acknowledge what they read. So a side is closed only when the kernel of the other end has acknowledged everything.
- What that kernel has, its program may not have read yet. If data arrives for a closed socket, the kernel answers with
  a reset, the next write of that program fails, and many programs stop reading then. So the connection lingers, half
  closed, until the other end closes it as well.
- Writing to a connection that the other end has closed fails, and the rest can no longer be read. So nothing is
  written to a side whose end has arrived, even if that end is not read yet.
- A TLS transport of uvloop loses what it has read ahead while reading is paused, if the connection ends then
  (https://github.com/MagicStack/uvloop/pull/661). So transports do not read ahead.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import struct
import termios
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

_HIGH_WATER: Final = 256 * 1024  # bytes buffered towards one side before reading from the other pauses

_FIRST_POLL, _POLL_CAP = 0.02, 1.0  # seconds between checks whether a side has received everything, doubling
_LINGER: Final = 30.0  # seconds for the other end to read the rest and to close
_lingering: set[asyncio.Task[None]] = set()

ConnectionLost = Callable[[BaseException | None], None]


class _Side(asyncio.Protocol):
    """One end. `lost` is connection_lost of the transport's former protocol, which must still be called."""

    __slots__ = ("_closed", "_splice", "lost", "peer")

    def __init__(self, splice: Splice, lost: ConnectionLost) -> None:
        self._splice, self.lost = splice, lost
        self._closed = False
        self.peer: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        self._splice.active = True
        if self.peer is not None and not _ended(self.peer):
            self.peer.write(data)

    def pause_writing(self) -> None:
        if self.peer is not None and not self.peer.is_closing():
            self.peer.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and not self.peer.is_closing():
            self.peer.resume_reading()

    def eof_received(self) -> bool:
        return False  # closes this side, and so leads to connection_lost

    def connection_lost(self, error: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        self.lost(error)
        if self.peer is not None:
            self._splice.side_lost(self.peer, error)


class Splice:
    """Two joined transports. `done` is set when both are closed."""

    def __init__(
        self,
        one: asyncio.Transport,
        other: asyncio.Transport,
        *,
        one_lost: ConnectionLost,
        other_lost: ConnectionLost,
        idle_seconds: float,
    ) -> None:
        """Takes over both transports at once. After `idle_seconds` without a byte both are closed."""
        self.active = True
        self.done = asyncio.Event()
        self._open = 2
        self._closing: socket.socket | None = None  # the connection of the last side, while its transport closes it
        self._transports = (one, other)
        self._idle = idle_seconds
        self._timer = asyncio.get_running_loop().call_later(idle_seconds, self._check_idle)
        sides = (_Side(self, one_lost), _Side(self, other_lost))
        for transport, side, peer in ((one, sides[0], other), (other, sides[1], one)):
            side.peer = peer
            transport.set_write_buffer_limits(high=_HIGH_WATER)
            _read_nothing_ahead(transport)
            transport.set_protocol(side)
            if transport.is_closing():  # its former protocol may have got connection_lost already
                asyncio.get_running_loop().call_soon(side.connection_lost, None)
        for transport in self._transports:
            if not transport.is_closing() and not transport.is_reading():
                transport.resume_reading()

    def close(self) -> None:
        """Closes both sides once their buffers are written."""
        for transport in self._transports:
            transport.close()

    def abort(self) -> None:
        """Aborts both sides at once, so that neither end takes what it has received for everything."""
        for transport in self._transports:
            transport.abort()

    def side_lost(self, peer: asyncio.Transport, error: Exception | None) -> None:
        """One side is closed: closes its peer once that has received everything."""
        self._open -= 1
        if self._open == 0:
            self._timer.cancel()
            self.done.set()
            if self._closing is not None:
                task = asyncio.get_running_loop().create_task(_linger(self._closing))
                _lingering.add(task)
                task.add_done_callback(_lingering.discard)
        else:
            if not peer.is_closing():
                peer.resume_reading()  # what it sends is dropped; unread, it would hide the end of the connection
            self._end(peer, error, _FIRST_POLL)

    def _end(self, transport: asyncio.Transport, error: Exception | None, pause: float, *, seen: bool = False) -> None:
        """Closes the transport once it has received everything; aborts it if its peer ended with an error.

        `seen`: it had received everything at the last look. One look is not enough: a TLS transport does not count what
        it has encrypted, and for a moment that may wait here while the kernel has nothing left to send.
        """
        if transport.is_closing():
            return
        received = is_received(transport)
        if not (received and seen):
            wait = _FIRST_POLL if received else pause
            look = partial(self._end, transport, error, min(2 * wait, _POLL_CAP), seen=received)
            asyncio.get_running_loop().call_later(wait, look)
        elif error is None:
            self._closing = _duplicate(transport)
            transport.close()
        else:
            transport.abort()

    def _check_idle(self) -> None:
        if not self.active:
            self.close()
            return
        self.active = False
        self._timer = asyncio.get_running_loop().call_later(self._idle, self._check_idle)


def _read_nothing_ahead(transport: asyncio.Transport) -> None:
    """Only TLS transports read ahead. (An empty buffer would reach a limit of 0, and nothing would be read at all.)"""
    limit: Callable[[int, int], None] | None = getattr(transport, "set_read_buffer_limits", None)
    if limit is not None:
        limit(1, 0)


def _ended(transport: asyncio.Transport) -> bool:
    """Whether the other end has closed its half (POLLRDHUP, poll(2)), even if not all of its data is read yet."""
    descriptor = _descriptor(transport)
    if transport.is_closing() or descriptor is None:
        return transport.is_closing()
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))


def is_received(transport: asyncio.Transport) -> bool:
    """Whether the kernel of the other end has acknowledged everything that was written.

    That is so when the transport has nothing left to write, and the kernel's send queue (SIOCOUTQ, tcp(7)) is empty.
    """
    if transport.get_write_buffer_size():
        return False
    descriptor = _descriptor(transport)
    if descriptor is None:
        return True
    queued: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))[0]
    return queued == 0


def _duplicate(transport: asyncio.Transport) -> socket.socket | None:
    """Keeps the connection open when the transport closes its own descriptor."""
    descriptor = _descriptor(transport)
    return None if descriptor is None else socket.socket(fileno=os.dup(descriptor))


async def _linger(connection: socket.socket) -> None:
    """Closes the connection once the other end has closed it; what arrives until then is dropped (RFC 9112, 9.6)."""
    loop = asyncio.get_running_loop()
    with connection, contextlib.suppress(OSError):  # includes TimeoutError
        connection.setblocking(False)
        connection.shutdown(socket.SHUT_WR)
        async with asyncio.timeout(_LINGER):
            while await loop.sock_recv(connection, 1 << 16):
                pass


def _descriptor(transport: asyncio.Transport) -> int | None:
    tcp = transport.get_extra_info("socket")
    return None if tcp is None or tcp.fileno() < 0 else int(tcp.fileno())


class Tail:
    """A payload parser that only keeps the bytes that arrive behind the 101."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


class Hijacked(web.StreamResponse):
    """The response of a handler that has taken over the connection: aiohttp must not write to it any more."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._keep_alive = False
        return None

    async def write_eof(self, data: Any = b"") -> None:
        pass
