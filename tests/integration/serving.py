"""The kubelet server under test, in this process, with a real parent and a scripted member."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import trustme
from aiohttp import web

from tests.cluster import Cluster
from tests.gateway import Gateway, Script, client_of
from tests.integration.connecting import client_through
from tests.unit.pods import PARENT, pod
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.config import KubeletSettings
from vk_provider.kube.client import Client
from vk_provider.kube.http.transport import LEAKY_TLS
from vk_provider.kube.objects import Pod
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.connections import Bounds
from vk_provider.kubelet.server import KubeletServer
from vk_provider.translate.names import Names
from vk_provider.translate.state.health import Assessment

NODE: Final = "kubelet-it"
ADDRESS: Final = "127.0.0.1"
POD: Final = "shop/web-1"
LOG: Final = b"what the container wrote\n"


class Metrics:
    """The member's metrics. Each text contains its own name."""

    skipped = 0

    async def summary(self, *, only_cpu_and_memory: bool) -> bytes:
        return b'{"summary": true}'

    async def resource(self) -> bytes:
        return b"resource 1\n"

    async def cadvisor(self) -> bytes:
        return b"cadvisor 1\n"

    async def probes(self) -> bytes:
        return b"probes 1\n"


@dataclass
class Served:
    """A running server. `connect` and `session` accept only certificates of the parent's CA."""

    server: KubeletServer
    member: Gateway
    parent: Cluster
    to_parent: Client
    port: int = 0
    ports: list[int] = field(default_factory=list)

    def tls(self, certificate: tuple[str, str] | None = None) -> ssl.SSLContext:
        """The TLS context of a client. `certificate` is the file of its certificate and that of its key."""
        context = ssl.create_default_context(cafile=str(self.parent.info.directory / "pki" / "ca.crt"))
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certificate:
            context.load_cert_chain(*certificate)
        return context

    async def connect(self, tls: ssl.SSLContext | None = None) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(ADDRESS, self.port, ssl=tls or self.tls(), limit=1 << 24)

    @contextlib.asynccontextmanager
    async def session(self, tls: ssl.SSLContext | None = None, token: str = "") -> AsyncIterator[aiohttp.ClientSession]:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        connector = aiohttp.TCPConnector(ssl=tls or self.tls(), force_close=True, enable_cleanup_closed=LEAKY_TLS)
        async with aiohttp.ClientSession(
            f"https://{ADDRESS}:{self.port}", connector=connector, headers=headers, auto_decompress=False
        ) as session:
            yield session

    @property
    def apiserver(self) -> tuple[str, str]:
        """The client certificate of the parent's API server."""
        pki = self.parent.info.directory / "pki" / "apiserver-kubelet-client"
        return f"{pki}.crt", f"{pki}.key"

    def sockets(self) -> int:
        """The number of open sockets of connections to the port, at both ends, including half-closed ones."""
        wanted = f"{int.from_bytes(socket.inet_aton(ADDRESS), 'little'):08X}:{self.port:04X}"
        established, half = "01", "08"
        with open("/proc/net/tcp") as table:
            rows = [line.split() for line in table.readlines()[1:]]
        return sum(1 for row in rows if row[1] == wanted and row[3] in (established, half))


class Pods:
    """A cache with one pod."""

    def __init__(self, found: Pod) -> None:
        self.items: Mapping[str, Pod] = {"shop/web-1": found}


class Answers:
    """The state of a member that answers."""

    lost_reason = ""
    health = Assessment()
    last_sign_of_life = 0.0


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def serving(parent: Cluster, script: Script | None = None, *, raw: Serve | None = None) -> AsyncIterator[Served]:
    """A server that runs within the block. The member answers according to the script, and every log is `LOG`.

    With `raw`, this function handles the connections to the member, over TLS.
    """

    async def answer(request: web.Request) -> web.StreamResponse | None:
        found = await script(request) if script is not None else None
        return web.Response(body=LOG) if found is None and request.path.endswith("/log") else found

    async with contextlib.AsyncExitStack() as stack:
        member = await stack.enter_async_context(Gateway(answer))
        authority = trustme.CA()
        if raw is not None:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            authority.issue_cert(ADDRESS).configure_cert(tls)
            listening = await stack.enter_async_context(await asyncio.start_server(raw, ADDRESS, 0, ssl=tls))
            member.server = f"https://{ADDRESS}:{listening.sockets[0].getsockname()[1]}"
        client = await stack.enter_async_context(client_through(parent, None))
        to_member = await stack.enter_async_context(client_of(member.server, authority.cert_pem.bytes()))
        backend = Backend(
            Names(NODE, PARENT),
            to_member,
            Pods(pod()),
            Pods(pod(uid="m-1", annotations={wellknown.PARENT_UID: "p-1"})),
            Answers(),
        )
        ports: list[int] = []
        server = KubeletServer(
            client,
            backend,
            Metrics(),
            KubeletSettings(address=ADDRESS),
            member="west",
            bounds=Bounds(),
            published=ports.append,
            report=lambda type, reason, message: None,
        )
        served = Served(server, member, parent, client, ports=ports)
        task = asyncio.create_task(server.run())
        try:
            await eventually_here(lambda: ports or task.done(), "the kubelet API is served")
            if task.done():
                task.result()
            served.port = ports[0]
            yield served
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


def request_bytes(method: str, target: str, **headers: Any) -> bytes:
    """The bytes of a request. Underscores in the names of headers become dashes."""
    lines = [f"{method} {target} HTTP/1.1", "Host: node"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
