"""The HTTPS server of one virtual node: one port, every route of the kubelet API, nothing without authentication.

    certificate (tls) -> port -> connection -> request -> Gate (auth) -> route -> logs, streams, metrics, pods
                                                                                    |
                                                                                    +--> the member's API server

Owns the port, its connections and the sessions. Without a certificate or a port it serves nothing, reports why, and
retries: a node without logs and exec is still a node. So `run` never raises.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from vk_provider.api import wellknown
from vk_provider.config import KubeletSettings
from vk_provider.errors import VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kubelet.auth import Gate
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.certs import ByRequest, FromFiles, IdentitySource
from vk_provider.kubelet.connections import FIELD_BYTES, LINE_BYTES, Bounds, Connection, Listener
from vk_provider.kubelet.handlers import KubeletApi, Metrics
from vk_provider.kubelet.logs import Logs
from vk_provider.kubelet.own_metrics import KubeletNumbers, ObjectWatches, OwnMetrics
from vk_provider.kubelet.ports import Port
from vk_provider.kubelet.routes import ROUTES, permission
from vk_provider.kubelet.streams import Sessions
from vk_provider.kubelet.tls import NOT_SERVED, ServingTls

log = logging.getLogger(__name__)

_SESSIONS: Final = 1000  # spliced connections per node
_RETRY_CAP: Final = 60.0  # seconds between attempts to listen
_GRACE: Final = 5.0  # seconds for sessions to end by themselves at shutdown


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Malformed HTTP gets a 400 and no record: any client may send it, and could fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_http_log = logging.getLogger(f"{__name__}.http")
_http_log.addFilter(_is_worth_logging)


class Report(Protocol):
    """Interface: reports an Event on the Node."""

    def __call__(self, type: str, reason: str, message: str) -> None: ...


class KubeletServer:
    """See the module's text."""

    def __init__(
        self,
        parent: Client,
        backend: Backend,
        metrics: Metrics,
        settings: KubeletSettings,
        *,
        member: str,
        bounds: Bounds,
        published: Callable[[int], None],
        report: Report,
        watches: ObjectWatches | None = None,
    ) -> None:
        """`member` is the name of the member. `settings.address` is set. `bounds` are those of the process.
        `published` is called with the port once it is served. `watches` are shown among the metrics."""
        self._node = node = backend.names.node
        self._settings, self._bounds, self._published, self._report = settings, bounds, published, report
        self._refused: Counter[str] = Counter()
        self._gate = Gate(parent, node, bounds, self._refused)
        self._sessions, self._logs = Sessions(_SESSIONS), Logs()
        numbers = KubeletNumbers(self._sessions, bounds.handshakes, bounds.unknown, self._refused)
        own_metrics = OwnMetrics(member, node, backend.state, numbers, metrics, watches)
        self._api = KubeletApi(backend, self._sessions, self._logs, metrics, own_metrics, settings)
        self._port = Port(parent, node, settings)
        self._complained = False
        self.tls = ServingTls(parent, node, self._source(parent), self._not_served)

    async def run(self) -> None:
        """Serves until cancelled; then gives sessions a grace period to end."""
        backoff = Backoff(base=1.0, cap=_RETRY_CAP)
        await self._port.recall()
        await self.tls.obtain()
        while True:
            try:
                await self._serve(self._port.bind())
            except Exception as error:
                pause = backoff.failed()
                text = str(error) if isinstance(error, VkError) else f"{type(error).__name__}: {error}"
                fields = {"node": self._node, "attempt": backoff.failures, "error": text}
                exc_info = None if isinstance(error, VkError) else error
                log.log(backoff.level, "kubelet API not served", extra=fields, exc_info=exc_info)
                self._not_served(NOT_SERVED, text)
                await asyncio.sleep(pause)

    async def _serve(self, listening: socket.socket) -> None:
        """Serves until cancelled."""
        address, port = listening.getsockname()[:2]
        options: dict[str, Any] = {
            "access_log": None,
            "logger": _http_log,
            "max_line_size": LINE_BYTES,
            "max_field_size": FIELD_BYTES,
            "keepalive_timeout": 120,
        }
        runner = web.AppRunner(self._application(), handler_cancellation=True, shutdown_timeout=1, **options)
        await runner.setup()
        server = runner.server
        assert server is not None
        listener = Listener(
            self._node,
            self._bounds,
            self._refused,
            self.tls.front(),
            lambda: Connection(server, self._bounds, self._refused, **options),
        )
        log.info("kubelet API served", extra={"node": self._node, "address": address, "port": port})
        if self._complained:
            self._complained = False
            self._report("Normal", wellknown.KUBELET_API_SERVED, f"the kubelet API is served on port {port}")
        self._published(port)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(listener.run(listening))
                group.create_task(self.tls.keep_current())
        finally:
            self._logs.cut("the provider stops")
            await self._sessions.drain(_GRACE)
            await runner.cleanup()

    def _source(self, parent: Client) -> IdentitySource:
        if self._settings.files is not None:
            return FromFiles(self._settings.files)
        signer = self._settings.signer
        return ByRequest(parent, self._node, self._settings.address, signer, waiting=lambda e: self.tls.waiting(e))

    def _not_served(self, what: str, cause: str) -> None:
        self._complained = True
        reason = wellknown.KUBELET_API_NOT_SERVED if what == NOT_SERVED else wellknown.KUBELET_CERTIFICATE_NOT_RENEWED
        self._report("Warning", reason, cause)

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
        if isinstance(request.protocol, Connection):
            request.protocol.admit()
        try:
            return await handler(request)
        except VkError as error:
            return web.Response(status=500, text=str(error))  # the text of a 503 would not reach the user
