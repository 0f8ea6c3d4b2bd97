"""A TCP proxy that does to connections what networks do: cuts, resets, and silence. Lives in the test's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

_CHUNK: Final = 2**16


@dataclass(eq=False)
class _Connection:
    """`client` leads to who asked, `server` to whom it asked; `dead`: bytes of either side vanish."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    dead: bool = False
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class Proxy:
    """Passes bytes on to one address until told otherwise. An async context manager."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._connections: set[_Connection] = set()
        self._silent = False
        self._budget: int | None = None
        self.port = 0
        self.accepted = 0  # connections so far

    async def __aenter__(self) -> Proxy:
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
        """New connections are welcome (again), under the same port."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """New connections are refused, and those that there are end."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.cut()

    def cut(self) -> None:
        """Ends all connections politely, wherever they are."""
        for connection in list(self._connections):
            _close(connection)

    def cut_after(self, count: int) -> None:
        """Ends the connection that brings the client this many more bytes, right there. Works once."""
        self._budget = count

    def reset(self) -> None:
        """Ends all connections with RST."""
        for connection in list(self._connections):
            option = struct.pack("ii", 1, 0)
            connection.client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            connection.client.transport.abort()
            _close(connection)

    def swallow(self) -> None:
        """All bytes vanish from now on, also of new connections: those stay open and silent."""
        self._silent = True
        for connection in self._connections:
            connection.dead = True

    def restore(self) -> None:
        """New connections work again. The silent ones stay silent: what they lost is lost."""
        self._silent = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(writer, dead=self._silent)
        self._connections.add(connection)
        current = asyncio.current_task()
        connection.tasks = [current] if current else []
        try:
            there, connection.server = await asyncio.open_connection(*self._target)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(connection, reader, connection.server, to_client=False))
                group.create_task(self._pump(connection, there, writer, to_client=True))
        except* OSError:
            pass
        finally:
            self._connections.discard(connection)
            _close(connection)

    async def _pump(
        self, connection: _Connection, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_client: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            if connection.dead:
                continue
            if to_client and self._budget is not None:
                self._budget -= len(data)
                if self._budget <= 0:
                    writer.write(data[: self._budget + len(data)])
                    self._budget = None
                    break
            writer.write(data)
            await writer.drain()
        if not connection.dead:
            _close(connection)


def _close(connection: _Connection) -> None:
    for writer in (connection.client, connection.server):
        if writer is not None:
            writer.close()
