"""A member's API server that serves one stream for each connection, and a client like kube-apiserver."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias, cast

from tests.integration.serving import POD, Served, request_bytes

SOON: Final = 20.0  # seconds: enough for a slow machine, and less than any deadline of the server
SWITCHING: Final = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Of: member\r\n\r\n"
)

Reader: TypeAlias = asyncio.StreamReader
Writer: TypeAlias = asyncio.StreamWriter


class Member:
    """The member's API server, as a handler of connections."""

    def __init__(self, greeting: bytes = SWITCHING, then: Callable[[Reader, Writer], Awaitable[None]] | None = None):
        self._greeting, self._then = greeting, then
        self.heads: list[list[str]] = []
        self.open = 0

    async def serve(self, reader: Reader, writer: Writer) -> None:
        self.open += 1
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n"))
            writer.write(self._greeting)
            if self._then is not None:
                await self._then(reader, writer)
            else:
                while await reader.read(1 << 16):
                    pass
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open -= 1
            writer.close()


async def echo(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


async def at_once(reader: Reader, writer: Writer) -> None:
    """Closes the connection at once."""


async def opened(served: Served, query: str = "command=true") -> tuple[Reader, Writer, bytes]:
    """An exec as kube-apiserver requests it, and the head of the answer."""
    reader, writer = await served.connect(served.tls(served.apiserver))
    head = request_bytes("POST", f"/exec/{POD}/app?{query}", Connection="Upgrade", Upgrade="SPDY/3.1")
    protocols = b"".join(b"X-Stream-Protocol-Version: v%d.channel.k8s.io\r\n" % version for version in (5, 4, 3))
    writer.write(head[:-2] + protocols + b"\r\n")
    return reader, writer, await reader.readuntil(b"\r\n\r\n")


def both_ways(transport: asyncio.WriteTransport) -> asyncio.Transport:
    """Casts the transport of a connection for reading: those of uvloop are no subclasses of asyncio.Transport."""
    return cast(asyncio.Transport, transport)
