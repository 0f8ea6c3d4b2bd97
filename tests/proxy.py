"""A TCP proxy with the faults of networks: delays, cuts, resets, and dropped packets. Runs in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

_CHUNK: Final = 2**16
_TURNS_TO_ACCEPT: Final = 5  # of the event loop, from an accepted socket to its `_serve`


@dataclass(eq=False)
class _Connection:
    """`client` leads to the client, `server` to the server.

    `deaf`: bytes of the server are dropped; `mute`: bytes of the client are dropped; `left`: the number of bytes that
    the client receives before the connection is cut.
    """

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    deaf: bool = False
    mute: bool = False
    left: int | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


@dataclass
class _Conditions:
    """The conditions of the network. Times are in seconds, `rate` and `capacity` are in bytes per second.

    `rate` limits each connection, `capacity` all of them together; `free_at` is the loop time at which that line is
    free again, per direction. `breaks`: the smallest and the largest number of bytes after which a connection is cut,
    and whether with RST.
    """

    latency: float = 0.0
    jitter: float = 0.0
    rate: float = 0.0
    capacity: float = 0.0
    free_at: dict[bool, float] = field(default_factory=lambda: {True: 0.0, False: 0.0})
    deaf: bool = False
    mute: bool = False
    breaks: tuple[int, int, bool] | None = None


class Proxy:
    """Forwards bytes to one address. An async context manager.

    The conditions of `delay`, `limit`, `narrow`, `break_off`, `swallow`, `deafen` and `hold` last until `restore`.
    """

    def __init__(self, host: str, port: int, *, listen: str = "127.0.0.1", rng: random.Random | None = None) -> None:
        self.target = host, port
        self.host = listen
        self._rng = rng or random.Random(1)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._conditions = _Conditions()
        self._passing = asyncio.Event()
        self._budget: int | None = None
        self.port = 0
        self.accepted = 0  # connections so far

    async def __aenter__(self) -> Proxy:
        self._passing.set()
        await self.accept()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.refuse()
        for task in [task for connection in self._connections for task in connection.tasks]:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await task

    async def accept(self) -> None:
        """Accepts new connections, on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """Refuses new connections, and closes existing ones."""
        if self._server is not None:
            await self._stop_accepting(self._server)
            self._server.close()
            self._server = None
        self.cut()

    async def _stop_accepting(self, server: asyncio.Server) -> None:
        """Returns when every accepted connection is in `_connections`.

        A server that is closed while asyncio accepts a connection leaves that one open (`Server._attach` fails).
        """
        for listening in server.sockets:
            asyncio.get_running_loop().remove_reader(listening.fileno())
        for _ in range(_TURNS_TO_ACCEPT):
            await asyncio.sleep(0)

    def cut(self) -> None:
        """Closes all connections with FIN, at any byte."""
        for connection in list(self._connections):
            _close(connection)

    def cut_after(self, count: int) -> None:
        """Cuts the connection that delivers this number of further bytes to the client, at that byte. Works once."""
        self._budget = count

    def reset(self) -> None:
        """Closes all connections with RST."""
        for connection in list(self._connections):
            _reset(connection)

    def delay(self, latency: float, jitter: float = 0.0) -> None:
        """Delays every chunk of bytes by `latency` seconds in each direction, plus up to `jitter` seconds."""
        self._conditions.latency, self._conditions.jitter = latency, jitter

    def limit(self, rate: float) -> None:
        """Limits each direction of each connection to `rate` bytes per second."""
        self._conditions.rate = rate

    def narrow(self, capacity: float) -> None:
        """Limits each direction of all connections together to `capacity` bytes per second, as a slow line does."""
        self._conditions.capacity = capacity

    def break_off(self, least: int, most: int, *, reset: bool) -> None:
        """Closes all connections. New ones are cut, with FIN or RST, after `least` to `most` bytes to the client."""
        self._conditions.breaks = least, most, reset
        self.reset()

    def swallow(self) -> None:
        """Drops all bytes, also of new connections, which stay open and silent."""
        self._silence(deaf=True, mute=True)

    def deafen(self) -> None:
        """Drops the bytes of the server. Those of the client arrive, and take effect."""
        self._silence(deaf=True, mute=False)

    def hold(self) -> None:
        """Holds all bytes back until `restore`, without losing any."""
        self._passing.clear()

    def restore(self) -> None:
        """Makes new connections work again. Silent ones stay silent, because their bytes are lost."""
        self._conditions = _Conditions()
        self._passing.set()

    def _silence(self, *, deaf: bool, mute: bool) -> None:
        self._conditions.deaf, self._conditions.mute = deaf, mute
        for connection in self._connections:
            connection.deaf |= deaf
            connection.mute |= mute

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        now = self._conditions
        left = self._rng.randint(*now.breaks[:2]) if now.breaks else None
        connection = _Connection(writer, deaf=now.deaf, mute=now.mute, left=left)
        self._connections.add(connection)
        current = asyncio.current_task()
        connection.tasks = [current] if current else []
        try:
            there, connection.server = await asyncio.open_connection(*self.target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, reader, connection.server, to_client=False))
                group.create_task(self._pump(connection, there, writer, to_client=True))
        except* (OSError, asyncio.CancelledError):
            pass  # only `__aexit__` cancels, and no one awaits a server's task
        finally:
            self._connections.discard(connection)
            _close(connection)

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._travel(len(data), to_client=to_client)
            if connection.deaf if to_client else connection.mute:
                continue
            if to_client and self._budget is not None:
                self._budget -= len(data)
                if self._budget <= 0:
                    writer.write(data[: self._budget + len(data)])
                    self._budget = None
                    break
            if to_client and connection.left is not None:
                writer.write(data[: connection.left])
                connection.left -= len(data)
                if connection.left <= 0:
                    if self._conditions.breaks and self._conditions.breaks[2]:
                        _reset(connection)
                    break
                continue
            writer.write(data)
            await writer.drain()
        if not (connection.deaf or connection.mute):
            _close(connection)

    async def _travel(self, size: int, *, to_client: bool) -> None:
        now = self._conditions
        seconds = now.latency + (self._rng.uniform(0, now.jitter) if now.jitter else 0.0)
        seconds += size / now.rate if now.rate else 0.0
        if now.capacity:
            current = asyncio.get_running_loop().time()
            now.free_at[to_client] = max(current, now.free_at[to_client]) + size / now.capacity
            seconds += now.free_at[to_client] - current
        if seconds:
            await asyncio.sleep(seconds)
        await self._passing.wait()


def _close(connection: _Connection) -> None:
    for writer in (connection.client, connection.server):
        if writer is not None:
            writer.close()


def _reset(connection: _Connection) -> None:
    if not connection.client.is_closing():
        option = struct.pack("ii", 1, 0)
        connection.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
        connection.client.transport.abort()
    _close(connection)
