"""A flood of requests without credentials on the kubelet API of a virtual node."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from typing import Final

_CLIENTS: Final = 60  # at the same time
_STAYS: Final = 3.0  # seconds that a client stays connected after its request
_PAUSE: Final = 0.2  # seconds between two connections of a client
# What a client sends once it is connected. `None`: nothing, not even a TLS handshake.
_REQUESTS: Final[tuple[bytes | None, ...]] = (
    None,
    b"",
    b"GET /pods HTTP/1.1\r\nHost: x\r\nAuthor",
    b"GET /pods HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 60_000 + b"\r\n\r\n",
    b"GET /pods HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + b"a" * 900 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * (1 << 20),
    b"SSH-2.0-OpenSSH_9.9\r\n",
)


async def flood(host: str, port: int) -> None:
    """Floods the port until cancelled."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    async with asyncio.TaskGroup() as group:
        for number in range(_CLIENTS):
            group.create_task(_client(host, port, context, random.Random(number)))


async def _client(host: str, port: int, context: ssl.SSLContext, rng: random.Random) -> None:
    while True:
        with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
            await _connect(host, port, context, rng.choice(_REQUESTS))
        await asyncio.sleep(_PAUSE)


async def _connect(host: str, port: int, context: ssl.SSLContext, request: bytes | None) -> None:
    tls = None if request is None else context
    async with asyncio.timeout(_STAYS):
        _, writer = await asyncio.open_connection(host, port, ssl=tls)
        try:
            writer.write(request or b"")
            await asyncio.sleep(_STAYS)
        finally:
            writer.transport.abort()
