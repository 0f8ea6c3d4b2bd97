"""The HTTPS server of one virtual node: one port, every route of the kubelet API, nothing without authentication.

    certificate by CSR (tls) -> listening -> request -> Gate (auth) -> route -> logs, streams, metrics, pods
                                                                                  |
                                                                                  +--> the member's API server

Owns the port, its connections and the sessions. Without a certificate it serves nothing, and retries: a node without
logs and exec is still a node.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from vk_provider.errors import VkError
from vk_provider.kube.client import Client
from vk_provider.kubelet.auth import Gate
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.handlers import KubeletApi, Metrics
from vk_provider.kubelet.own_metrics import OwnMetrics
from vk_provider.kubelet.routes import ROUTES, permission
from vk_provider.kubelet.streams import Sessions
from vk_provider.kubelet.tls import ServingTls

log = logging.getLogger(__name__)

_SESSIONS: Final = 1000  # spliced connections per node
_CONNECTIONS: Final = 4000  # open connections per node
_HANDSHAKE: Final = 10.0  # seconds for TLS
_FIRST_REQUEST: Final = 15.0  # seconds from the connection to its first request that the gate admits
_HEADER_BYTES: Final = 1 << 20  # the command line of an exec is part of the request line
_GRACE: Final = 5.0  # seconds for sessions to end by themselves at shutdown


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Malformed HTTP gets a 400 and no record: any client may send it, and could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_http_log = logging.getLogger(f"{__name__}.http")
_http_log.addFilter(_is_worth_logging)


class KubeletServer:
    """See the module's text."""

    def __init__(
        self,
        parent: Client,
        backend: Backend,
        metrics: Metrics,
        address: str,
        *,
        member: str,
        published: Callable[[int], None],
    ) -> None:
        """`member` is the name of the member. `published` is called with the port once it is served."""
        self._node = backend.names.node
        self._address, self._published = address, published
        self._gate = Gate(parent, self._node)
        self._sessions = Sessions(_SESSIONS)
        own_metrics = OwnMetrics(member, self._node, backend.state, self._sessions, metrics)
        self._api = KubeletApi(backend, self._sessions, metrics, own_metrics)
        self._unproven: set[asyncio.Protocol] = set()  # connections on which the gate has not admitted a request yet
        self.tls = ServingTls(parent, self._node, address)

    async def run(self) -> None:
        """Serves until cancelled; then gives sessions a grace period to end."""
        await self.tls.obtain()
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            logger=_http_log,
            handler_cancellation=True,
            max_line_size=_HEADER_BYTES,
            max_field_size=_HEADER_BYTES,
            keepalive_timeout=120,
            shutdown_timeout=1,
        )
        await runner.setup()
        server = await asyncio.get_running_loop().create_server(
            lambda: self._accept(runner), self._address, 0, ssl=self.tls.front(), ssl_handshake_timeout=_HANDSHAKE
        )
        port = server.sockets[0].getsockname()[1]
        log.info("kubelet API served", extra={"node": self._node, "address": self._address, "port": port})
        self._published(port)
        try:
            await self.tls.keep_current()
        finally:
            server.close()
            await self._sessions.drain(_GRACE)
            await runner.cleanup()

    def _accept(self, runner: web.AppRunner) -> asyncio.Protocol:
        """The protocol of a new connection, which has a short time to send a request that the gate admits."""
        if runner.server is None or len(runner.server.connections) >= _CONNECTIONS:
            return _Refused()
        protocol = runner.server()
        self._unproven.add(protocol)

        def check() -> None:
            if protocol in self._unproven:
                self._unproven.discard(protocol)
                if protocol.transport is not None:
                    protocol.transport.abort()

        asyncio.get_running_loop().call_later(_FIRST_REQUEST, check)
        return protocol

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=1 << 20)
        for route in ROUTES:
            for method in route.methods.split("|"):
                application.router.add_route(method, route.path, partial(route.handler, self._api))
        return application

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Every request has to pass the gate, including those for paths that do not exist."""
        await self._gate.check(request, permission(request.method, request.path))
        self._unproven.discard(request.protocol)
        try:
            return await handler(request)
        except VkError as error:
            return web.Response(status=500, text=str(error))  # the text of a 503 would not reach the user


class _Refused(asyncio.Protocol):
    """Too many connections: this one is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
