"""Joins two upgraded connections: every byte that comes on one is written to the other, until both are closed.

Nothing is parsed, so every protocol version, half-finished frame and terminal resize passes as it is. Back-pressure is
the transports' own: a full write buffer on one side pauses reading on the other, so memory stays bounded. A TLS
transport cannot half-close, and every Kubernetes hop closes both halves anyway: the end of one side is the end of the
other, once that has received everything.

That is more than to call `close`, as clients show that acknowledge what they read. A TLS transport which is closing
loses what it has not sent yet as soon as the other end says another word: so a side whose peer has ended is closed only
when the kernel of the other end has all of it. And whoever writes to a connection that has ended is told that it is
broken, and never gets to read the rest: so nothing is written to a side whose end has come, although not been read yet.
And a TLS transport of uvloop forgets what it has read ahead while reading is paused, when the connection ends then
(https://github.com/MagicStack/uvloop/pull/661): so none is to read on while it keeps anything.
"""

from __future__ import annotations

import asyncio
import fcntl
import select
import struct
import termios
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

_HIGH_WATER: Final = 256 * 1024  # bytes buffered towards one side before reading from the other pauses

_FIRST_LOOK, _LAST_LOOK = 0.02, 1.0  # seconds between looks at what a side that is to end has not received, doubling

ConnectionLost = Callable[[BaseException | None], None]


class _Side(asyncio.Protocol):
    """One end. `lost` is connection_lost of the protocol that had the transport before, and must still hear of it."""

    __slots__ = ("_gone", "_splice", "lost", "peer")

    def __init__(self, splice: Splice, lost: ConnectionLost) -> None:
        self._splice, self.lost = splice, lost
        self._gone = False
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
        if self._gone:
            return
        self._gone = True
        self.lost(error)
        if self.peer is not None:
            self._splice.side_lost(self.peer, error)


class Splice:
    """Two transports joined. `done` is set when both are gone."""

    def __init__(
        self,
        one: asyncio.Transport,
        other: asyncio.Transport,
        *,
        one_lost: ConnectionLost,
        other_lost: ConnectionLost,
        idle_seconds: float,
    ) -> None:
        """Takes both transports over at once. After `idle_seconds` without a byte both are closed."""
        self.active = True
        self.done = asyncio.Event()
        self._open = 2
        self._transports = (one, other)
        self._idle = idle_seconds
        self._timer = asyncio.get_running_loop().call_later(idle_seconds, self._check_idle)
        sides = (_Side(self, one_lost), _Side(self, other_lost))
        for transport, side, peer in ((one, sides[0], other), (other, sides[1], one)):
            side.peer = peer
            transport.set_write_buffer_limits(high=_HIGH_WATER)
            _read_nothing_ahead(transport)
            transport.set_protocol(side)
            if transport.is_closing():  # of its end the protocol before may have been told already
                asyncio.get_running_loop().call_soon(side.connection_lost, None)
        for transport in self._transports:
            if not transport.is_closing() and not transport.is_reading():
                transport.resume_reading()

    def close(self) -> None:
        """Ends both sides after what is buffered has been written."""
        for transport in self._transports:
            transport.close()

    def abort(self) -> None:
        """Ends both sides at once, so that neither takes this for the end of what was to come."""
        for transport in self._transports:
            transport.abort()

    def side_lost(self, peer: asyncio.Transport, error: Exception | None) -> None:
        """One side has gone: its peer goes too, when it has received everything."""
        self._open -= 1
        if self._open == 0:
            self._timer.cancel()
            self.done.set()
        else:
            if not peer.is_closing():
                peer.resume_reading()  # nobody wants what it says any more; unread, it would hide that the peer goes
            self._end(peer, error, _FIRST_LOOK)

    def _end(self, transport: asyncio.Transport, error: Exception | None, look: float) -> None:
        """Without a farewell where its peer broke off, so that this is not taken for the end of what was to come."""
        if transport.is_closing():
            return
        if not _received(transport):
            later = min(2 * look, _LAST_LOOK)
            asyncio.get_running_loop().call_later(look, self._end, transport, error, later)
        elif error is None:
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
    """Over TLS; others keep nothing. (A limit of 0 would be reached by an empty buffer, and nothing be read at all.)"""
    limit: Callable[[int, int], None] | None = getattr(transport, "set_read_buffer_limits", None)
    if limit is not None:
        limit(1, 0)


def _ended(transport: asyncio.Transport) -> bool:
    """Whether the other end has said all it had to (POLLRDHUP, poll(2)), also where not all of that has been read."""
    descriptor = _descriptor(transport)
    if transport.is_closing() or descriptor is None:
        return transport.is_closing()
    poll = select.poll()
    poll.register(descriptor, select.POLLRDHUP)
    return bool(poll.poll(0))


def _received(transport: asyncio.Transport) -> bool:
    """Whether the kernel of the other end has acknowledged everything that was written.

    The kernel's own queue (SIOCOUTQ, tcp(7)) is empty only when the transport has nothing to put into it.
    """
    if transport.get_write_buffer_size():
        return False
    descriptor = _descriptor(transport)
    if descriptor is None:
        return True
    queued: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, b"\0" * 4))[0]
    return queued == 0


def _descriptor(transport: asyncio.Transport) -> int | None:
    socket = transport.get_extra_info("socket")
    return None if socket is None or socket.fileno() < 0 else int(socket.fileno())


class Tail:
    """A payload parser that only keeps the bytes that rode in with the 101."""

    def __init__(self) -> None:
        self.data = b""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.data += data
        return False, b""

    def feed_eof(self) -> None:
        pass


class Hijacked(web.StreamResponse):
    """What a handler returns that has taken the connection: aiohttp must write nothing more."""

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        self._keep_alive = False
        return None

    async def write_eof(self, data: Any = b"") -> None:
        pass
