"""Connections to the kubelet API, bounded before anything about the client is known.

    accepted --> handshake --> a client certificate: known --------------------------> requests
                     |                                                                    ^
                     +-------> none: unknown, until the gate admits one of its requests --+

All virtual nodes of a process share one `Bounds`: of the handshakes under way, of the connections of unknown clients,
and of the bytes that those have sent. At a bound, the connection that has been there the longest, or that holds the
most, is closed: a client that needs milliseconds is not kept out by those that fill the server.

The kernel holds little for a client that is not known: the event loop reads all that the kernel has at once, before
anything here can count it, and one iteration may read from all connections.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from vk_provider.kube.backoff import Backoff

log = logging.getLogger(__name__)

LINE_BYTES: Final = 1 << 20  # the command line of an exec is part of the request line
FIELD_BYTES: Final = (16 << 10) + 256  # a token of the longest length that the gate accepts, and its scheme
_UNKNOWN_BYTES: Final = LINE_BYTES + (128 << 10)  # that one unknown client may send in all
_UNKNOWN_BYTES_TOGETHER: Final = 4 << 20  # that all unknown clients of the process hold; memory holds a few copies
_RECEIVE_BUFFER: Final = 8 << 10  # bytes that the kernel holds for an unknown client; it doubles the number (socket(7))
_KNOWN_RECEIVE_BUFFER: Final = 1 << 20  # the same for a known client; the kernel reduces it to net.core.rmem_max
_SO_BUF_LOCK: Final = 72  # of asm-generic/socket.h; Linux 5.15
_UNKNOWN: Final = 256  # connections of unknown clients
_HANDSHAKES: Final = 256  # handshakes under way
_CONNECTIONS: Final = 4000  # open connections per node
_HANDSHAKE: Final = 10.0  # seconds for TLS
_FIRST_REQUEST: Final = 15.0  # seconds from the handshake to the first request that the gate admits

# Reasons of refusals, for the metrics.
HANDSHAKE, TIMEOUT, BYTES, CONNECTIONS, TOKEN = "handshake", "timeout", "bytes", "connections", "token"
REASONS: Final = (HANDSHAKE, TIMEOUT, BYTES, CONNECTIONS, TOKEN)


class Bounds:
    """What clients that are not known yet may hold in this process."""

    def __init__(self) -> None:
        self.handshakes: dict[socket.socket, Counter[str]] = {}  # oldest first; with the counter of its node
        self.unknown: dict[Connection, None] = {}  # oldest first
        self.held = 0  # bytes that the unknown clients have sent
        self.token_reviews, self.access_reviews = asyncio.Semaphore(4), asyncio.Semaphore(4)

    def begin(self, connection: socket.socket, refused: Counter[str]) -> None:
        """A handshake begins. At the bound, the oldest one ends."""
        self.handshakes[connection] = refused
        if len(self.handshakes) > _HANDSHAKES:
            oldest = next(iter(self.handshakes))
            del self.handshakes[oldest]
            end_handshake(oldest)

    def end(self, connection: socket.socket) -> None:
        """The handshake has ended."""
        self.handshakes.pop(connection, None)

    def add(self, connection: Connection) -> None:
        """A connection of an unknown client is open. At the bound, the oldest one is closed."""
        self.unknown[connection] = None
        if len(self.unknown) > _UNKNOWN:
            next(iter(self.unknown)).refuse(CONNECTIONS)

    def remove(self, connection: Connection) -> None:
        """The client is known now, or gone."""
        if connection in self.unknown:
            del self.unknown[connection]
            self.held -= connection.held

    def hold(self, connection: Connection, size: int) -> None:
        """An unknown client has sent bytes. At the bound, the one that holds the most is refused."""
        connection.held += size
        self.held += size
        if connection.held > _UNKNOWN_BYTES:
            connection.refuse(BYTES)
        while self.held > _UNKNOWN_BYTES_TOGETHER:
            max(self.unknown, key=lambda each: each.held).refuse(BYTES)


def client_certificate(transport: asyncio.BaseTransport) -> dict[str, Any] | None:
    """The certificate that the client has proved to own in this handshake. A resumed session proves nothing."""
    certificate: dict[str, Any] | None = transport.get_extra_info("peercert")
    return certificate if certificate and not transport.get_extra_info("ssl_object").session_reused else None


def _release_receive_buffer(connection: socket.socket) -> None:
    """The kernel adapts the buffer to the speed of the connection again, or, before Linux 5.15, has a large one."""
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _KNOWN_RECEIVE_BUFFER)
        connection.setsockopt(socket.SOL_SOCKET, _SO_BUF_LOCK, 0)
    except OSError:
        pass  # an older kernel, or the connection has ended


def end_handshake(connection: socket.socket) -> None:
    """Makes a handshake fail. (Cancelling it leaves the transport open in Python before 3.12.7.)"""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it has ended already


class Connection(web.RequestHandler):
    """One connection after its handshake. aiohttp does the rest."""

    __slots__ = ("_bounds", "_refused", "_server", "_timer", "held")

    def __init__(self, server: web.Server, bounds: Bounds, refused: Counter[str], **options: Any) -> None:
        super().__init__(server, loop=asyncio.get_running_loop(), **options)
        self._server, self._bounds, self._refused = server, bounds, refused
        self._timer: asyncio.TimerHandle | None = None
        self.held = 0  # bytes received while the client was unknown

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._timer = asyncio.get_running_loop().call_later(_FIRST_REQUEST, self.refuse, TIMEOUT)
        if client_certificate(transport) is None:
            self._bounds.add(self)
        else:
            _release_receive_buffer(transport.get_extra_info("socket"))
        if len(self._server.connections) > _CONNECTIONS:
            self.refuse(CONNECTIONS)

    def connection_lost(self, exc: BaseException | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self in self._bounds.unknown:
            self._bounds.hold(self, len(data))
        if self.transport is not None and not self.transport.is_closing():
            super().data_received(data)

    def admit(self) -> None:
        """The gate has admitted a request: the client is known."""
        if self in self._bounds.unknown and self.transport is not None:
            _release_receive_buffer(self.transport.get_extra_info("socket"))
        self._forget()

    def _forget(self) -> None:
        self._bounds.remove(self)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def refuse(self, reason: str) -> None:
        """Closes the connection at once."""
        self._refused[reason] += 1
        self._forget()
        if self.transport is not None:
            self.transport.abort()


class Listener:
    """Accepts connections of one virtual node."""

    def __init__(
        self, node: str, bounds: Bounds, refused: Counter[str], tls: ssl.SSLContext, connect: Callable[[], Connection]
    ) -> None:
        """`connect` makes the protocol of a new connection."""
        self._node, self._bounds, self._refused = node, bounds, refused
        self._tls, self._connect = tls, connect

    async def run(self, listening: socket.socket) -> None:
        """Accepts until cancelled. Closes the socket in the end, and the connections whose handshake is under way."""
        loop, backoff = asyncio.get_running_loop(), Backoff(base=0.1, cap=5.0)
        tasks: set[asyncio.Task[None]] = set()
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)  # its connections inherit it
        try:
            while True:
                try:
                    connection, _ = await loop.sock_accept(listening)
                    backoff.succeeded()
                except OSError as error:  # no file descriptors, for example
                    pause = backoff.failed()
                    fields = {"node": self._node, "error": str(error)}
                    log.log(backoff.level, "connection to the kubelet API not accepted", extra=fields)
                    await asyncio.sleep(pause)
                    continue
                task = loop.create_task(self._handshake(connection))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            listening.close()
            for connection, counter in list(self._bounds.handshakes.items()):
                if counter is self._refused:
                    end_handshake(connection)
            await asyncio.gather(*tasks)

    async def _handshake(self, connection: socket.socket) -> None:
        self._bounds.begin(connection, self._refused)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._connect, connection, ssl=self._tls, ssl_handshake_timeout=_HANDSHAKE
            )
        except Exception as error:  # whatever the client has sent
            self._refused[HANDSHAKE] += 1
            log.debug("handshake failed", extra={"node": self._node, "error": f"{type(error).__name__}: {error}"})
        finally:
            self._bounds.end(connection)
