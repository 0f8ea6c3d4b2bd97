"""Sessions with one API server. The kernel notices a peer that has fallen silent."""

from __future__ import annotations

import socket
import ssl
import sys
from asyncio import sslproto
from typing import Any, Final

import aiohttp
from aiohttp import AddrInfoType

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
# asyncio keeps a buffer of this size for each TLS connection, 256 KiB by default. A TLS record has 16 KiB at most.
sslproto.SSLProtocol.max_size = 64 << 10
_NOT_SENT: Final = ("Accept-Encoding", "User-Agent", "Accept")  # aiohttp would add them


def for_requests(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """For requests. Its users bound how many run at once (see `shares`): the pool of aiohttp is not fair."""
    return _session(tls, limit=0, keepalive_timeout=60)


def for_streams(tls: ssl.SSLContext) -> aiohttp.ClientSession:
    """For watches and streams, without a limit, so that they never starve the requests."""
    return _session(tls, read_bufsize=2**18, limit=0, force_close=True)


def _session(tls: ssl.SSLContext, *, read_bufsize: int = 2**16, **connector: Any) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=tls, enable_cleanup_closed=LEAKY_TLS, socket_factory=_socket, **connector),
        skip_auto_headers=_NOT_SENT,
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        read_bufsize=read_bufsize,
    )


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
