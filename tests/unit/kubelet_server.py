"""The kubelet server in this process, with a scripted parent that signs certificates and reviews tokens."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.unit.pods import PARENT, pod
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.config import KubeletSettings
from vk_provider.errors import NotFoundError
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import CONFIG_MAPS, NODES, Resource
from vk_provider.kubelet.auth import SUBJECT_ACCESS_REVIEWS, TOKEN_REVIEWS
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.certs import CSRS
from vk_provider.kubelet.connections import Bounds
from vk_provider.kubelet.server import KubeletServer
from vk_provider.translate.names import Names
from vk_provider.translate.state.health import Assessment

NODE: Final = "west"
ADDRESS: Final = "127.0.0.1"


class Parent:
    """A client of a parent that signs and reviews. Tests replace the attributes."""

    def __init__(self) -> None:
        self.ca = trustme.CA()
        self.client_ca = self.ca.cert_pem.bytes().decode()
        self.signs = True
        self.signed: str | None = None  # what it signs instead of a certificate, base64
        self.denied = False
        self.requests: list[str] = []  # names of CertificateSigningRequests
        self.asked: list[str] = []
        self.failing: dict[str, Exception] = {}  # kind of request -> its error
        self.reviewed: list[str] = []  # tokens
        self.reviewing = self.most_reviewing = 0
        self.review_takes = 0.0
        self.known_tokens = {"good"}
        self.nodes: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.inactivity = 0.0  # seconds after which a silent watch counts as broken
        self._bodies: dict[str, dict[str, Any]] = {}

    def server_time(self) -> datetime:
        return datetime.now(UTC)

    def _note(self, what: str) -> None:
        self.asked.append(what)
        if error := self.failing.get(what):
            raise error

    async def get(self, resource: Resource, name: str, namespace: str = "", *, type: type[Any]) -> Any:
        self._note(f"get {resource.plural}")
        if resource == CONFIG_MAPS:
            return self._as(type, {"metadata": {"name": name}, "data": {"client-ca-file": self.client_ca}})
        if resource == NODES:
            for node in self.nodes:
                if node["metadata"]["name"] == name:
                    return self._as(type, node)
            raise NotFoundError(404, "NotFound", f"nodes {name!r} not found")
        assert resource == CSRS
        if name not in self._bodies:
            raise NotFoundError(404, "NotFound", f"{name} not found")
        status: dict[str, Any] = {}
        if self.denied:
            status = {"conditions": [{"type": "Denied", "status": "True", "message": "no"}]}
        elif self.signs:
            status = {"certificate": self.signed if self.signed is not None else self._sign(name)}
        return self._as(type, {"metadata": {"name": name, "resourceVersion": "1"}, "status": status})

    async def list(self, resource: Resource, namespace: str = "", *, type: type[Any], query: object = None) -> Any:
        self._note(f"list {resource.plural}")
        return [self._as(type, node) for node in self.nodes]

    async def create(self, resource: Resource, body: dict[str, Any], namespace: str = "", *, type: type[Any]) -> Any:
        self._note(f"create {resource.plural}")
        if resource == CSRS:
            name = f"csr-{len(self.requests)}"
            self.requests.append(name)
            self._bodies[name] = body
            return self._as(type, {"metadata": {"name": name}})
        if resource == TOKEN_REVIEWS:
            token = body["spec"]["token"]
            self.reviewed.append(token)
            self.reviewing += 1
            self.most_reviewing = max(self.most_reviewing, self.reviewing)
            await asyncio.sleep(self.review_takes)
            self.reviewing -= 1
            return self._as(type, {"status": {"authenticated": token in self.known_tokens, "user": {"username": "u"}}})
        assert resource == SUBJECT_ACCESS_REVIEWS
        return self._as(type, {"status": {"allowed": True}})

    async def patch(self, resource: Resource, name: str, body: Any, *, type: type[Any], subresource: str = "") -> Any:
        self._note(f"patch {resource.plural}/{subresource}")
        return self._as(type, {"metadata": {"name": name}})

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        self._note("watch certificatesigningrequests")
        assert query["fieldSelector"] == f"metadata.name={self.requests[-1]}"
        assert query["allowWatchBookmarks"] == "true"
        self.inactivity = inactivity
        yield b'{"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "2"}}}'
        await self.changed.wait()
        self.changed.clear()
        yield b'{"type": "MODIFIED", "object": {"metadata": {"resourceVersion": "3"}}}'

    def forget(self, name: str) -> None:
        """A controller deletes a request."""
        del self._bodies[name]
        self.changed.set()

    def spec(self, name: str) -> dict[str, Any]:
        spec: dict[str, Any] = self._bodies[name]["spec"]
        return spec

    def _sign(self, name: str) -> str:
        request = x509.load_pem_x509_csr(base64.b64decode(self._bodies[name]["spec"]["request"]))
        now = datetime.now(UTC)
        key = serialization.load_pem_private_key(self.ca.private_key_pem.bytes(), None)
        issuer = x509.load_pem_x509_certificate(self.ca.cert_pem.bytes())
        builder = (
            x509.CertificateBuilder()
            .subject_name(request.subject)
            .issuer_name(issuer.subject)
            .public_key(request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now.replace(year=now.year - 1))
            .not_valid_after(now.replace(year=now.year + 4))
        )
        for extension in request.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        from cryptography.hazmat.primitives import hashes

        signed = builder.sign(key, hashes.SHA256())  # type: ignore[arg-type]  # trustme has EC keys
        return base64.b64encode(signed.public_bytes(serialization.Encoding.PEM)).decode()

    @staticmethod
    def _as(type: type[Any], found: dict[str, Any]) -> Any:
        return msgspec.convert(found, type)


class Pods:
    def __init__(self, found: Pod) -> None:
        self.items: Mapping[str, Pod] = {"shop/web-1": found}


class Healthy:
    lost_reason = ""
    health = Assessment()
    last_sign_of_life = 0.0


class NoMetrics:
    skipped = 0

    async def summary(self, *, only_cpu_and_memory: bool) -> bytes:
        return b"{}"

    async def resource(self) -> bytes:
        return b""

    async def cadvisor(self) -> bytes:
        return b""

    async def probes(self) -> bytes:
        return b""


class Server:
    """A KubeletServer with what it has reported."""

    def __init__(
        self,
        parent: Parent,
        settings: KubeletSettings | None = None,
        *,
        node: str = NODE,
        member: Any = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.parent, self.bounds = parent, bounds or Bounds()
        self.ports: list[int] = []
        self.events: list[tuple[str, str, str]] = []
        backend = Backend(
            Names(node, PARENT),
            member,
            Pods(pod()),
            Pods(pod(uid="m-1", annotations={wellknown.PARENT_UID: "p-1"})),
            Healthy(),
        )
        self.kubelet = KubeletServer(
            parent,  # type: ignore[arg-type]  # has what is used of a Client
            backend,
            NoMetrics(),
            settings or KubeletSettings(address=ADDRESS),
            member="member",
            bounds=self.bounds,
            published=self.ports.append,
            report=lambda type, reason, message: self.events.append((type, reason, message)),
        )

    @property
    def port(self) -> int:
        return self.ports[-1]

    def tls(self, *, certified: bool = False) -> ssl.SSLContext:
        """A client's context; `certified`: with a client certificate of the parent's CA."""
        context = ssl.create_default_context()
        self.parent.ca.configure_trust(context)
        context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        if certified:
            self.parent.ca.issue_cert(common_name="kube-apiserver", organization_name="system:masters").configure_cert(
                context
            )
        return context

    async def connect(self, *, certified: bool = False) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(ADDRESS, self.port, ssl=self.tls(certified=certified), limit=1 << 24)

    async def ask(self, path: str, *, method: str = "GET", token: str = "", certified: bool = False) -> tuple[int, str]:
        """One request over a connection of its own: status and body."""
        reader, writer = await self.connect(certified=certified)
        try:
            writer.write(request_bytes(method, path, token))
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split()[1]), body.decode()
        finally:
            writer.close()


def request_bytes(method: str, path: str, token: str = "", *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: node", "Connection: close", *more]
    lines += [f"Authorization: Bearer {token}"] if token else []
    return "\r\n".join([*lines, "", ""]).encode()


@contextlib.asynccontextmanager
async def running(server: Server, *, served: bool = True) -> AsyncIterator[Server]:
    """The server runs within the block; unless `served` is False, it is published before."""
    task = asyncio.create_task(server.kubelet.run())
    try:
        if served:
            await eventually_here(lambda: server.ports or task.done(), "the kubelet API is served")
        yield server
        assert not task.done(), "the server has ended"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
