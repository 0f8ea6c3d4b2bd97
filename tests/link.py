"""The connection from the provider to one API server, with faults that tests switch on and off.

    provider --TLS--> Proxy --bytes--> API server            most faults: those of networks
                        `--TLS--> Gateway --TLS--> API server    faults of servers: error answers, a wrong certificate

Runs in its own thread, so that blocking tests and programs can use it. With the same seed, faults have the same effect.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.cluster import Cluster, Json
from tests.gateway import Gateway, failure
from tests.proxy import Proxy

T = TypeVar("T")

SERVER_NAME: Final = "kubernetes.default.svc"  # a name in the certificate of every API server
_RETRY_AFTER: Final = "1"  # seconds
_ELSEWHERE: Final = "/elsewhere"  # where redirects lead


class Link:
    """A context manager. `fault` starts one of `FAULTS` and ends the previous one; `heal` ends it."""

    def __init__(self, cluster: Cluster, *, seed: int = 1) -> None:
        self.cluster = cluster
        self._rng = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"link to {cluster.name}")
        self._stack = AsyncExitStack()
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.status = 0  # of the gateway's answers
        self.followed = 0  # requests that followed a redirect
        self.active = ""

    def __enter__(self) -> Link:
        self._thread.start()
        self._run(self._open())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._run(self._stack.aclose())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def server(self) -> str:
        """The URL of the link. Kubeconfigs need SERVER_NAME with it."""
        return f"https://{self.proxy.host}:{self.proxy.port}"

    def through(self, kubeconfig: Json) -> Json:
        """The kubeconfig with the URL of the link."""
        clusters = [
            {**entry, "cluster": entry["cluster"] | {"server": self.server, "tls-server-name": SERVER_NAME}}
            for entry in kubeconfig["clusters"]
        ]
        return kubeconfig | {"clusters": clusters}

    def fault(self, name: str) -> None:
        if self.active:
            self.heal()
        self._run(self._begin(name))
        self.active = name

    def heal(self) -> None:
        self._run(self._end())
        self.active = ""

    def answer_with(self, status: int) -> None:
        """Answers all requests with this status. Call it within the event loop."""
        self.status = status
        self._use_gateway("apiserver")

    def present_expired_certificate(self) -> None:
        self.status = 0
        self._use_gateway("expired")

    def _use_gateway(self, certificate: str) -> None:
        pki = self.cluster.info.directory / "pki"
        self._tls.load_cert_chain(pki / f"{certificate}.crt", pki / f"{certificate}.key")
        url = urlsplit(self.gateway.server)
        self.proxy.target = str(url.hostname), url.port or 0
        self.proxy.reset()

    async def _open(self) -> None:
        pki = self.cluster.info.directory / "pki"
        _issue_expired(pki)
        self._tls.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
        host, port = self.cluster.info.address, int(self.cluster.server.rpartition(":")[2])
        self._direct = host, port
        self.gateway = await self._stack.enter_async_context(Gateway(self._script, self.cluster.server, tls=self._tls))
        self.proxy = await self._stack.enter_async_context(
            Proxy(host, port, listen=self.cluster.info.host_address, rng=self._rng)
        )

    async def _script(self, request: web.Request) -> web.StreamResponse | None:
        self.followed += request.path.startswith(_ELSEWHERE)
        if not self.status:
            return None
        if self.status == 302:
            raise web.HTTPFound(f"{self.server}{_ELSEWHERE}{request.path_qs}")
        reason, headers = _ANSWERS[self.status]
        return failure(self.status, reason, f"a fault of the test: {reason}", **headers)

    async def _begin(self, name: str) -> None:
        found = FAULTS[name](self)
        if found is not None:
            await found

    async def _end(self) -> None:
        self.status = 0
        self.proxy.restore()
        await self.proxy.accept()
        if self.proxy.target != self._direct:
            self.proxy.target = self._direct
            self.proxy.reset()

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=30)


_ANSWERS: Final[dict[int, tuple[str, dict[str, str]]]] = {
    401: ("Unauthorized", {}),
    403: ("Forbidden", {}),
    410: ("Expired", {}),
    429: ("TooManyRequests", {"Retry_After": _RETRY_AFTER}),
    500: ("InternalError", {}),
    503: ("ServiceUnavailable", {}),
}

Begin = Callable[[Link], Awaitable[None] | None]
# The faults. Those in SLOW only degrade the connection.
SLOW: Final[dict[str, Begin]] = {
    "latency": lambda link: link.proxy.delay(0.3),
    "jitter": lambda link: link.proxy.delay(0.02, 0.5),
    "bandwidth": lambda link: link.proxy.limit(64_000),
    "1 Mbit/s": lambda link: link.proxy.narrow(125_000),
}
BROKEN: Final[dict[str, Begin]] = {
    "refused": lambda link: link.proxy.refuse(),
    "reset": lambda link: link.proxy.break_off(0, 1_500, reset=True),
    "truncated": lambda link: link.proxy.break_off(1_500, 6_000, reset=False),
    "held": lambda link: link.proxy.hold(),
    "black hole": lambda link: link.proxy.swallow(),
    "half-open": lambda link: link.proxy.deafen(),
    "429": lambda link: link.answer_with(429),
    "500": lambda link: link.answer_with(500),
    "503": lambda link: link.answer_with(503),
    "410": lambda link: link.answer_with(410),
    "expired certificate": lambda link: link.present_expired_certificate(),
}
# Answers that no working API server gives to a valid credential.
WRONG: Final[dict[str, Begin]] = {
    "401": lambda link: link.answer_with(401),
    "403": lambda link: link.answer_with(403),
    "redirect": lambda link: link.answer_with(302),
}
FAULTS: Final[dict[str, Begin]] = SLOW | BROKEN | WRONG


def _issue_expired(pki: Path) -> None:
    """A certificate for the API server that expired yesterday."""
    authority = x509.load_pem_x509_certificate((pki / "ca.crt").read_bytes())
    signer = serialization.load_pem_private_key((pki / "ca.key").read_bytes(), None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "expired")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=2))
        .not_valid_after(now - timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (pki / "expired.crt").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (pki / "expired.key").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
