"""Connections to one API server, and the typed errors that their failures become.

The kernel notices a peer that has fallen silent.
"""

from __future__ import annotations

import socket
import ssl
import sys
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import aiohttp
import msgspec
from aiohttp import AddrInfoType
from yarl import URL

from vk_provider.errors import ApiError, UnreachableError, api_error

_SILENCE: Final = 30  # seconds without a packet from the peer after which a connection is dead
_KEEP_ALIVE: Final = tuple(
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_KEEPIDLE", _SILENCE // 2),
        ("TCP_KEEPINTVL", _SILENCE // 6),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", _SILENCE * 1000),  # milliseconds; for data that the peer has not acknowledged
    )
    if hasattr(socket, name)  # Linux has all of them, other systems have some
)
LEAKY_TLS: Final = sys.version_info < (3, 12, 7)  # asyncio leaves the TLS transport of a cancelled task open
_NOT_SENT: Final = ("Accept-Encoding", "User-Agent", "Accept")  # aiohttp would add them
_NAME_MISMATCH: Final = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH
_OUT_OF_DATE: Final = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


class Sessions:
    """The connections of a client with one credential: at most so many for requests, and any number for streams.

    Once replaced, they are closed: those for requests after the last answer, those for streams when none is open.
    """

    def __init__(self, tls: ssl.SSLContext, connections: int) -> None:
        self._connections = connections
        self._earlier: list[Sessions] = []
        self._requests = _session(tls, limit=connections, keepalive_timeout=60)
        self.streams = _session(tls, read_bufsize=2**18, limit=0, force_close=True)  # never starve the requests
        self._opened: weakref.WeakSet[aiohttp.ClientResponse] = weakref.WeakSet()  # streams that users of `open` close
        self._in_flight, self._replaced = 0, False

    @asynccontextmanager
    async def request(self, method: str, url: URL, **options: Any) -> AsyncIterator[aiohttp.ClientResponse]:
        """One request. Raises the errors of aiohttp."""
        self._in_flight += 1
        try:
            async with self._requests.request(method, url, **options) as response:
                yield response
        finally:
            self._in_flight -= 1
            await self._close_requests()

    async def open(self, method: str, url: URL, **options: Any) -> aiohttp.ClientResponse:
        """Opens a stream that the caller closes. Raises the errors of aiohttp."""
        response = await self.streams.request(method, url, **options)
        self._opened.add(response)
        return response

    def replace(self, tls: ssl.SSLContext) -> Sessions:
        """The successors of these connections, with another credential."""
        successor = Sessions(tls, self._connections)
        self._replaced, successor._earlier = True, [*self._earlier, self]
        self._earlier = []
        return successor

    async def close_replaced(self) -> None:
        """Closes what is not in use of the connections that these have replaced, and forgets what is closed."""
        for earlier in self._earlier:
            await earlier._close_requests()
            if all(stream.closed for stream in earlier._opened):
                await earlier.streams.close()
        self._earlier = [each for each in self._earlier if not (each._requests.closed and each.streams.closed)]

    async def close(self) -> None:
        """Closes all connections, those of earlier credentials too."""
        for sessions in (self, *self._earlier):
            await sessions._requests.close()
            await sessions.streams.close()

    async def _close_requests(self) -> None:
        if self._replaced and not self._in_flight:
            await self._requests.close()


def _session(tls: ssl.SSLContext, *, read_bufsize: int = 2**16, **connector: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, enable_cleanup_closed=LEAKY_TLS, socket_factory=_socket, **connector),
        skip_auto_headers=_NOT_SENT,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=read_bufsize,
    )


def unreachable(server: str, error: BaseException) -> UnreachableError:
    """The error of a failed connection; with a remedy if the server's certificate is not trusted."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        cause: BaseException = getattr(error, "certificate_error", error)
        code, text = getattr(cause, "verify_code", 0), getattr(cause, "verify_message", cause)
        wrong = "server and tls-server-name" if code in _NAME_MISMATCH else "certificate-authority-data"
        expired = code in _OUT_OF_DATE
        return UnreachableError(
            f"{server}: its certificate is not trusted: {text}",
            reason="CertificateExpired" if expired else "CertificateInvalid",
            remedy="renew it, or set the clock of this machine" if expired else f"check {wrong} of the kubeconfig",
        )
    if isinstance(error, TimeoutError):
        return UnreachableError(f"{server}: no answer in time")
    text = " ".join(str(error).split()) or type(error).__name__
    return UnreachableError(f"{server}: {text}")


def _socket(address: AddrInfoType) -> socket.socket:
    """A socket whose kernel probes a silent peer, so that a link which drops packets is noticed within `_SILENCE`.

    (client-go sends HTTP/2 pings for the same reason.)
    """
    family, kind, protocol, _, _ = address
    found = socket.socket(family, kind, protocol)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEP_ALIVE:
        found.setsockopt(socket.IPPROTO_TCP, option, value)
    return found


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Splits at newlines. A line may be of any length: an object may be larger than any buffer."""
    parts: list[bytes] = []
    async for chunk in content.iter_any():
        if b"\n" not in chunk:
            parts.append(chunk)
            continue
        head, *lines = chunk.split(b"\n")
        yield b"".join([*parts, head])
        parts = [lines.pop()]
        for line in lines:
            yield line


class _Cause(msgspec.Struct):
    field: str = ""


class _Details(msgspec.Struct):
    causes: list[_Cause] | None = None


class _Status(msgspec.Struct):
    message: str = ""
    reason: str = ""
    code: int = 0
    details: _Details | None = None

    @property
    def uid_differs(self) -> bool:
        """Whether a patch with `metadata.uid` met another UID; servers report a change of an immutable field."""
        causes = self.details.causes if self.details else None
        return any(cause.field == "metadata.uid" for cause in causes or ())


def failure(response: aiohttp.ClientResponse, body: bytes) -> ApiError:
    """The error of a refused request, with the server's message and its Retry-After."""
    try:
        status = msgspec.json.decode(body, type=_Status)
    except msgspec.DecodeError:
        status = _Status(message=body[:200].decode(errors="replace").strip())
    message = status.message or f"HTTP {response.status} {response.reason}"
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdigit() else None
    if status.uid_differs:
        return api_error(409, "Conflict", message)
    return api_error(response.status, status.reason or str(response.reason), message, seconds)
