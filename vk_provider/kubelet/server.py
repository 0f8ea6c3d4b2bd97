"""The HTTPS server of one virtual node: one port, every route of the kubelet API, nothing without authentication.

    certificates by CSR -> listening -> requests: Gate -> route -> logs, streams, metrics, pods
                             ^                                                   |
                             +---- renewed in place, sessions go on ----+        +--> the member's API server

Owns the port, the TLS state and the sessions. Where certificates cannot be had it serves nothing, says so, and tries
again: a node without logs and exec is still a node.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from vk_provider.errors import VkError
from vk_provider.kube.backoff import full_jitter
from vk_provider.kube.client import Client
from vk_provider.kube.objects import encode
from vk_provider.kubelet.auth import Gate
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.certs import client_ca, front_context, request_identity, server_context
from vk_provider.kubelet.logs import container_logs
from vk_provider.kubelet.streams import Sessions, exec_query, port_forward_query, run_query, upgrade

log = logging.getLogger(__name__)

_SESSIONS: Final = 1000  # spliced connections per node
_CONNECTIONS: Final = 4000  # open connections per node
_HANDSHAKE: Final = 10.0  # seconds for TLS
_FIRST_REQUEST: Final = 15.0  # seconds from the connection to a request that passed the gate
_HEADER_BYTES: Final = 1 << 20  # a command line of exec travels in the request line
_GRACE: Final = 5.0  # seconds for sessions to end by themselves at shutdown
_CA_EVERY: Final = 300.0  # seconds between looks at the parent's client CA


def _worth_telling(record: logging.LogRecord) -> bool:
    """What is no HTTP gets a 400 and no record: any stranger may send it, and would fill the log."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_http_log = logging.getLogger(f"{__name__}.http")
_http_log.addFilter(_worth_telling)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Metrics(Protocol):
    """Port: figures of the member."""

    async def summary(self, *, only_cpu_and_memory: bool) -> bytes: ...

    async def resource(self) -> bytes: ...

    async def cadvisor(self) -> bytes: ...

    async def probes(self) -> bytes: ...

    @property
    def skipped(self) -> int: ...


class KubeletServer:
    """See the module's text. `published` is told of the port once it is served."""

    def __init__(
        self,
        parent: Client,
        backend: Backend,
        metrics: Metrics,
        address: str,
        *,
        published: Callable[[int], None],
        more_figures: Callable[[], str] = str,
    ) -> None:
        """`more_figures` are added to the provider's own metrics, as lines of the Prometheus text format."""
        self._parent, self._backend, self._metrics = parent, backend, metrics
        self._node = backend.names.node
        self._address, self._published, self._more_figures = address, published, more_figures
        self._gate = Gate(parent, self._node)
        self._sessions = Sessions(_SESSIONS)
        self._silent: set[asyncio.Protocol] = set()  # new connections on which no request has passed the gate
        self._context: ssl.SSLContext | None = None
        self._rng = random.Random()

    async def run(self) -> None:
        """Serves until cancelled; then lets sessions end within a grace period."""
        renewal = await self._identity()
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
        loop = asyncio.get_running_loop()
        front = front_context(self._choose_context)
        server = await loop.create_server(
            lambda: self._accept(runner), self._address, 0, ssl=front, ssl_handshake_timeout=_HANDSHAKE
        )
        port = server.sockets[0].getsockname()[1]
        log.info("kubelet API served", extra={"node": self._node, "address": self._address, "port": port})
        self._published(port)
        try:
            while True:
                await asyncio.sleep(min(_CA_EVERY, max(1.0, renewal - loop.time())))
                renewal = await self._renew(renewal)
        finally:
            server.close()
            await self._sessions.drain(_GRACE)
            await runner.cleanup()

    def _choose_context(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, with or without a server name: new connections get the newest certificate."""
        if self._context is not None:
            connection.context = self._context

    def _accept(self, runner: web.AppRunner) -> asyncio.Protocol:
        """The protocol of a new connection, which has little time to show that it is somebody."""
        if runner.server is None or len(runner.server.connections) >= _CONNECTIONS:
            return _Refused()
        protocol = runner.server()
        self._silent.add(protocol)

        def check() -> None:
            if protocol in self._silent:
                self._silent.discard(protocol)
                if protocol.transport is not None:
                    protocol.transport.abort()

        asyncio.get_running_loop().call_later(_FIRST_REQUEST, check)
        return protocol

    async def _identity(self) -> float:
        """Gets a certificate, however long that takes; gives the loop time at which to renew it."""
        attempt = 0
        while True:
            try:
                return await self._load()
            except VkError as error:
                attempt += 1
                log.warning(
                    "kubelet API not served", extra={"node": self._node, "attempt": attempt, "error": str(error)}
                )
                await asyncio.sleep(full_jitter(attempt, base=0.5, cap=120.0, rng=self._rng))

    async def _load(self) -> float:
        self._ca = await client_ca(self._parent)
        self._pair = await request_identity(self._parent, self._node, self._address)
        self._context = server_context(self._pair, self._ca)
        seconds = (self._pair.renew_at(self._rng) - self._parent.server_time()).total_seconds()
        return asyncio.get_running_loop().time() + seconds

    async def _renew(self, renewal: float) -> float:
        """Takes up another client CA, and another certificate when it is time; what there is serves on meanwhile."""
        try:
            if asyncio.get_running_loop().time() >= renewal:
                renewal = await self._load()
                log.info("kubelet certificate renewed", extra={"node": self._node})
            elif (ca := await client_ca(self._parent)) != self._ca:
                self._ca = ca
                self._context = server_context(self._pair, ca)
        except VkError as error:
            log.warning("kubelet certificate not renewed", extra={"node": self._node, "error": str(error)})
            return max(renewal, asyncio.get_running_loop().time() + 60.0)
        return renewal

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=1 << 20)
        for method, path, handler in self._routes():
            for each in method.split("|"):
                application.router.add_route(each, path, handler)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Every request passes the gate, those for paths that do not exist too."""
        await self._gate.check(request)
        self._silent.discard(request.protocol)
        try:
            return await handler(request)
        except VkError as error:
            return web.Response(status=500, text=str(error))  # the text of a 503 would not reach the user

    def _routes(self) -> list[tuple[str, str, Handler]]:
        pod, container = "/{namespace}/{pod}", "/{namespace}/{pod}/{container}"
        uid = "/{namespace}/{pod}/{uid}"
        return [
            ("GET", f"/containerLogs{container}", self._logs),
            ("GET|POST", f"/exec{container}", self._exec),
            ("GET|POST", f"/exec{uid}/{{container}}", self._exec),
            ("GET|POST", f"/attach{container}", self._attach),
            ("GET|POST", f"/attach{uid}/{{container}}", self._attach),
            ("GET|POST", f"/portForward{pod}", self._port_forward),
            ("GET|POST", f"/portForward{uid}", self._port_forward),
            ("POST", f"/run{container}", self._run),
            ("POST", f"/run{uid}/{{container}}", self._run),
            ("GET", "/pods", self._pods),
            ("GET", "/runningpods/", self._running_pods),
            ("GET|POST", "/stats/summary", self._summary),
            ("GET", "/metrics", self._own_metrics),
            ("GET", "/metrics/resource", self._text(self._metrics.resource)),
            ("GET", "/metrics/cadvisor", self._text(self._metrics.cadvisor)),
            ("GET", "/metrics/probes", self._text(self._metrics.probes)),
            ("GET", "/healthz", _healthz),
            ("GET", "/configz", _configz),
            ("POST", "/checkpoint/{tail:.*}", _checkpoint),
        ]

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        return await container_logs(request, self._backend)

    async def _exec(self, request: web.Request) -> web.StreamResponse:
        query = exec_query(request.rel_url.raw_query_string, request.match_info["container"])
        return await upgrade(request, self._backend, self._sessions, "exec", query)

    async def _attach(self, request: web.Request) -> web.StreamResponse:
        query = exec_query(request.rel_url.raw_query_string, request.match_info["container"])
        return await upgrade(request, self._backend, self._sessions, "attach", query)

    async def _port_forward(self, request: web.Request) -> web.StreamResponse:
        query = port_forward_query(request.rel_url.raw_query_string)
        return await upgrade(request, self._backend, self._sessions, "portforward", query)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        query = run_query(request.rel_url.raw_query_string, request.match_info["container"])
        return await upgrade(request, self._backend, self._sessions, "exec", query)

    async def _pods(self, request: web.Request) -> web.StreamResponse:
        return _pod_list(list(self._backend.parent_pods().values()))

    async def _running_pods(self, request: web.Request) -> web.StreamResponse:
        running = self._backend.member_pods()
        names = self._backend.names
        return _pod_list(
            [
                pod
                for pod in self._backend.parent_pods().values()
                if f"{names.namespace(pod.metadata.namespace)}/{pod.metadata.name}" in running
            ]
        )

    async def _summary(self, request: web.Request) -> web.StreamResponse:
        lean = request.query.get("only_cpu_and_memory", "false").lower() == "true"
        body = await self._metrics.summary(only_cpu_and_memory=lean)
        return web.Response(body=body, content_type="application/json")

    async def _own_metrics(self, request: web.Request) -> web.StreamResponse:
        return _prometheus(
            b"# HELP vk_provider_kubelet_sessions Streams (exec, attach, portforward) that are open.\n"
            b"# TYPE vk_provider_kubelet_sessions gauge\n"
            b"vk_provider_kubelet_sessions %d\n"
            b"# HELP vk_provider_tasks Tasks of the whole process.\n"
            b"# TYPE vk_provider_tasks gauge\n"
            b"vk_provider_tasks %d\n"
            b"# HELP vk_provider_member_nodes_skipped_total Answers of member nodes that could not be used.\n"
            b"# TYPE vk_provider_member_nodes_skipped_total counter\n"
            b"vk_provider_member_nodes_skipped_total %d\n%s"
            % (len(self._sessions), len(asyncio.all_tasks()), self._metrics.skipped, self._more_figures().encode())
        )

    def _text(self, source: Callable[[], Awaitable[bytes]]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            return _prometheus(await source())

        return handler


class _Refused(asyncio.Protocol):
    """Too many connections: this one is closed at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _prometheus(body: bytes) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


def _pod_list(pods: list[object]) -> web.Response:
    items = [{"apiVersion": "v1", "kind": "Pod", **_parts(pod)} for pod in pods]
    body = encode({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items})
    return web.Response(body=body, content_type="application/json")


def _parts(pod: object) -> dict[str, object]:
    return {name: getattr(pod, name) for name in ("metadata", "spec", "status")}


async def _healthz(request: web.Request) -> web.StreamResponse:
    return web.Response(text="ok")


async def _configz(request: web.Request) -> web.StreamResponse:
    return web.json_response({"kubeletconfig": {"kind": "KubeletConfiguration"}})


async def _checkpoint(request: web.Request) -> web.StreamResponse:
    raise web.HTTPNotImplemented(text="checkpoints are not supported by a virtual node")
