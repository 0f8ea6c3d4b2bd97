"""A scripted API server. It forwards requests without a scripted answer to a real one.

It listens on the loopback interface, without TLS unless a certificate is given. It records every request, so that a
test can count them.
"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import aiohttp
from aiohttp import web

from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.http.transport import LEAKY_TLS

Script = Callable[[web.Request], Awaitable[web.StreamResponse | None]]


@dataclass(frozen=True)
class Asked:
    """One request, and the time of its arrival (monotonic seconds)."""

    method: str
    path: str
    query: dict[str, str]
    at: float

    @property
    def lists(self) -> bool:
        """Whether it requests all objects: a page of a list, or a watch that starts with one."""
        return "watch" not in self.query or "sendInitialEvents" in self.query


class Gateway:
    """An async context manager. Without `script`, or if that returns None, it forwards the request to `real`.

    Requests for the server's newest resourceVersion are answered with `newest`, without the script.
    """

    def __init__(
        self,
        script: Script | None = None,
        real: str = "",
        authorization: str = "",
        *,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`authorization`: the header for the real server. If empty, the header of the client is forwarded."""
        self._script, self._real, self._authorization, self._tls = script, real, authorization, tls
        self.asked: list[Asked] = []
        self.newest = "1000000"
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.server = ""

    async def __aenter__(self) -> Gateway:
        application = web.Application(client_max_size=2**24)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False, limit=0, enable_cleanup_closed=LEAKY_TLS),
            timeout=aiohttp.ClientTimeout(),
        )
        self._runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.server = f"{'https' if self._tls else 'http'}://{host}:{port}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    def client(self) -> Client:
        """A client of this server. The caller closes it."""
        return client_of(self.server)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        if request.query.get("limit") == "1" and self._script is not None:
            return web.json_response({"metadata": {"resourceVersion": self.newest}, "items": []})
        self.asked.append(Asked(request.method, request.path, dict(request.query), time.monotonic()))
        if self._script is not None:
            answer = await self._script(request)
            if answer is not None:
                return answer
        return await self._forward(request)

    async def _forward(self, request: web.Request) -> web.StreamResponse:
        if self._session is None or not self._real:
            return failure(404, "NotFound")
        authorization = self._authorization or request.headers.get("Authorization", "")
        headers = {"Authorization": authorization, "Content-Type": request.content_type}
        body = await request.read()
        async with self._session.request(
            request.method, self._real + request.path_qs, headers=headers, data=body
        ) as theirs:
            answer = web.StreamResponse(status=theirs.status)
            await answer.prepare(request)
            async for chunk in theirs.content.iter_any():
                await answer.write(chunk)
            return answer


def client_of(server: str, authority: bytes = b"", *, connections: int = 100) -> Client:
    """A client of the server at a URL, whose certificate this authority (PEM) has issued. The caller closes it."""
    trusted = {"certificate-authority-data": base64.b64encode(authority).decode()} if authority else {}
    document = {
        "clusters": [{"name": "it", "cluster": {"server": server, **trusted}}],
        "users": [{"name": "it", "user": {}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }
    return Client(Kubeconfig.from_secret(json.dumps(document).encode(), "test").credentials(), connections=connections)


def failure(status: int, reason: str, message: str = "", **headers: str) -> web.Response:
    """A Status object, as in answers of API servers. `Retry_After` becomes the header Retry-After."""
    body = {"kind": "Status", "apiVersion": "v1", "code": status, "reason": reason, "message": message or reason}
    return web.json_response(body, status=status, headers={key.replace("_", "-"): v for key, v in headers.items()})


def cut_off(request: web.Request) -> web.Response:
    """Closes the connection without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


def item(name: str, version: int, **more: Any) -> dict[str, Any]:
    """A ConfigMap of a scripted server."""
    metadata = {"name": name, "namespace": "ns", "uid": f"uid-{name}", "resourceVersion": str(version)}
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata | more}


def event(kind: str, about: dict[str, Any]) -> bytes:
    return json.dumps({"type": kind, "object": about}).encode() + b"\n"


def bookmark(version: int, *, end_of_list: bool = False) -> bytes:
    annotations = {"k8s.io/initial-events-end": "true"} if end_of_list else {}
    return event("BOOKMARK", item("", version, annotations=annotations))


def gone_event() -> bytes:
    status = {"kind": "Status", "metadata": {}, "code": 410, "reason": "Expired", "message": "too old resource version"}
    return event("ERROR", status)


async def stream(request: web.Request, *lines: bytes, stay: bool = True) -> web.StreamResponse:
    """A watch that sends these lines, and then stays open or ends without an error."""
    answer = web.StreamResponse()
    await answer.prepare(request)
    for line in lines:
        await answer.write(line)
    if stay:
        await asyncio.Event().wait()
    return answer
