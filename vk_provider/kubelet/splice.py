"""Joins two upgraded connections: every byte that comes on one is written to the other, until both are closed.

Nothing is parsed, so every protocol version, half-finished frame and terminal resize passes as it is. Back-pressure is
the transports' own: a full write buffer on one side pauses reading on the other, so memory stays bounded. A TLS
transport cannot half-close, and every Kubernetes hop closes both halves anyway: the end of one side, after what is
buffered has been written, is the end of the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

_HIGH_WATER: Final = 256 * 1024  # bytes buffered towards one side before reading from the other pauses

ConnectionLost = Callable[[BaseException | None], None]


class _Side(asyncio.Protocol):
    """One end. `lost` is connection_lost of the protocol that had the transport before, and must still hear of it."""

    __slots__ = ("_splice", "lost", "peer")

    def __init__(self, splice: Splice, lost: ConnectionLost) -> None:
        self._splice, self.lost = splice, lost
        self.peer: asyncio.Transport | None = None

    def data_received(self, data: bytes) -> None:
        self._splice.active = True
        if self.peer is not None:
            self.peer.write(data)

    def pause_writing(self) -> None:
        if self.peer is not None and not self.peer.is_closing():
            self.peer.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and not self.peer.is_closing():
            self.peer.resume_reading()

    def eof_received(self) -> bool:
        if self.peer is not None:
            self.peer.close()  # writes what is buffered first
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self.lost(error)
        if self.peer is not None:
            if error is None:
                self.peer.close()
            else:
                self.peer.abort()
        self._splice.side_lost()


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
            transport.set_protocol(side)
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

    def side_lost(self) -> None:
        self._open -= 1
        if self._open == 0:
            self._timer.cancel()
            self.done.set()

    def _check_idle(self) -> None:
        if not self.active:
            self.close()
            return
        self.active = False
        self._timer = asyncio.get_running_loop().call_later(self._idle, self._check_idle)


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
