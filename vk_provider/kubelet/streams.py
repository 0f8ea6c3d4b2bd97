"""exec, attach and portForward: an upgraded connection of kube-apiserver, spliced to one of the member's. And run.

The query is translated, the headers that negotiate the protocol pass unchanged, and after the 101 this program only
moves bytes. Only `run` reads them: its answer is the output of the command.
(k8s.io/kubernetes pkg/kubelet/server/server.go for the routes, staging/src/k8s.io/cri-streaming for their options)
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import secrets
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote, unquote_plus, unquote_to_bytes

import aiohttp
from aiohttp import web

from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.splice import Hijacked, Splice, Tail
from vk_provider.translate.kubelet.channels import Output, pong

log = logging.getLogger(__name__)

IDLE_SECONDS: Final = 4 * 3600.0  # the default of a kubelet's streamingConnectionIdleTimeout
# Option of the kubelet API -> option of the member's API. The value "1" becomes "true".
_STREAMS: Final = {"input": "stdin", "output": "stdout", "error": "stderr", "tty": "tty"}
_PROTOCOLS: Final = {"websocket": "websocket", "spdy/3.1": "SPDY/3.1"}
_RUN_HEADERS: Final = (
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
)
_NEGOTIATION: Final = (
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
    "X-Stream-Protocol-Version",
)


def exec_query(raw: str, container: str) -> str:
    """The member's query for exec and attach. Values keep their encoding: they may be bytes that are not UTF-8."""
    parts = []
    for key, value in _pairs(raw):
        if key in _STREAMS:
            parts += [f"{_STREAMS[key]}=true"] if value in ("1", "true") else []
        elif key == "command":
            parts.append(f"command={value}")
    return "&".join([*parts, f"container={quote(container, safe='')}"])


def port_forward_query(raw: str) -> str:
    """The member's query for portforward."""
    return "&".join(f"ports={value}" for key, value in _pairs(raw) if key in ("port", "ports"))


def command_line(raw: str) -> bytes:
    """The command of /run, from a query or a form."""
    line = next((value for key, value in _pairs(raw) if key == "cmd"), "")
    return unquote_to_bytes(line.replace("+", " "))


def run_query(line: bytes, container: str) -> str:
    """The member's query for the exec of /run: the command line split at spaces, stdout and stderr."""
    commands = "&".join(f"command={quote(argument, safe='')}" for argument in line.split(b" "))
    return f"{commands}&stdout=true&stderr=true&container={quote(container, safe='')}"


def _pairs(raw: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in raw.split("&") if part)
    return [(unquote_plus(key), value) for key, _, value in pairs]


class Sessions:
    """Owns the spliced connections of one virtual node."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0  # sessions that are open or being opened
        self._open: set[Splice] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Counts one session, from before it is opened until after its end. Raises 429 at the limit."""
        if self._taken >= self._limit:
            raise web.HTTPTooManyRequests(text="too many open sessions on this node", headers={"Retry-After": "5"})
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    async def follow(self, splice: Splice) -> None:
        """Returns when the session has ended. Cancellation ends the session."""
        self._open.add(splice)
        try:
            await splice.done.wait()
        finally:
            splice.close()
            self._open.discard(splice)

    async def drain(self, grace: float) -> None:
        """Waits that many seconds for sessions to end, then aborts them."""
        try:
            async with asyncio.timeout(grace):
                for splice in list(self._open):
                    await splice.done.wait()
        except TimeoutError:
            for splice in list(self._open):
                splice.abort()


async def upgrade(
    request: web.Request, backend: Backend, sessions: Sessions, subresource: str, query: str
) -> web.StreamResponse:
    """Opens the same stream at the member and splices the two. A refusal of the member is passed on instead."""
    upgrade_to = _PROTOCOLS.get(request.headers.get("Upgrade", "").lower())
    if not upgrade_to:
        text = f"{subresource} is a stream: the request must ask for an upgrade to websocket or SPDY/3.1"
        raise web.HTTPBadRequest(text=text)
    path = backend.path(request, subresource)
    negotiation = [(name, value) for name in _NEGOTIATION for value in request.headers.getall(name, ())]
    headers = [("Connection", "Upgrade"), ("Upgrade", upgrade_to), *negotiation]
    with sessions.slot():
        response = await backend.member.open(request.method, f"{path}?{query}", headers=headers)
        try:
            if response.status != 101:
                return await backend.refusal(response)
            await sessions.follow(_join(request, response))
            return Hijacked(status=101)
        finally:
            response.close()


async def run(request: web.Request, backend: Backend, sessions: Sessions) -> web.StreamResponse:
    """Runs a command in the member, and answers its output, as a kubelet does. A command that fails is a 500."""
    form = await request.text() if request.content_type == "application/x-www-form-urlencoded" else ""
    line = command_line(f"{form}&{request.rel_url.raw_query_string}")
    path, query = backend.path(request, "exec"), run_query(line, request.match_info["container"])
    key = base64.b64encode(secrets.token_bytes(16)).decode()
    with sessions.slot():
        response = await backend.member.open(
            "GET", f"{path}?{query}", headers=[*_RUN_HEADERS, ("Sec-WebSocket-Key", key)]
        )
        try:
            if response.status != 101:
                return await backend.refusal(response)
            async with asyncio.timeout(IDLE_SECONDS):
                output = await _Receiver(response).output()
        finally:
            response.close()
    if failure := output.failure(line.decode(errors="replace")):
        return web.Response(status=500, text=failure)
    return web.Response(body=output.text, content_type="application/json")  # whatever it is: a kubelet does the same


class _Receiver:
    """A payload parser of aiohttp that receives the output of a command."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        connection = response.connection
        if connection is None or connection.transport is None or connection.protocol is None:
            raise ConnectionResetError("the connection was closed during the upgrade")
        self._transport = connection.transport
        self._output, self._ended = Output(), asyncio.Event()
        connection.protocol.set_parser(self, None)
        if self._transport.is_closing():
            self._ended.set()

    async def output(self) -> Output:
        """The output, once the command or the connection has ended."""
        await self._ended.wait()
        return self._output

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        for ping in self._output.feed(data):
            self._transport.write(pong(ping))
        if self._output.ended:
            self._ended.set()
        return False, b""

    def feed_eof(self) -> None:
        self._ended.set()


def _join(request: web.Request, response: aiohttp.ClientResponse) -> Splice:
    """Passes on the member's 101 and the bytes behind it, and takes over both connections in the same tick."""
    connection, near = response.connection, request.transport
    if near is None or connection is None or connection.transport is None or connection.protocol is None:
        raise ConnectionResetError("the connection was closed during the upgrade")
    tail = Tail()
    connection.protocol.set_parser(tail, None)
    near.write(_head(response.raw_headers))
    splice = Splice(
        near,
        connection.transport,
        one_lost=request.protocol.connection_lost,
        other_lost=connection.protocol.connection_lost,
        idle_seconds=IDLE_SECONDS,
    )
    if tail.data:
        near.write(tail.data)
    return splice


def _head(headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    return b"HTTP/1.1 101 Switching Protocols\r\n" + lines + b"\r\n"
