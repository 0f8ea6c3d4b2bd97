"""TLS of the server of one virtual node: its certificate and the parent's client CA, renewed in place.

    obtained --> served to new connections --> renewed at 70 to 90 % of its lifetime, when its files or the client CA
     ^    |                                          |      ^                                                  change
     +----+ failed: again, with backoff              +------+ failed: the old one serves on; again, with backoff

Open connections keep the certificate with which they began. No failure of whatever kind leaves this module: a node
without logs and exec is still a node. Each is logged and reported.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import ssl
from collections.abc import Awaitable, Callable
from typing import Final

from vk_provider.errors import VkError
from vk_provider.kube import keys
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kubelet.certs import Identity, IdentitySource, client_ca

log = logging.getLogger(__name__)

_CHECK_CA: Final = 300.0  # seconds between two GETs of the parent's client CA
_RETRY_CAP: Final = 600.0  # seconds; an attempt may leave a CertificateSigningRequest behind
_SHORTEST: Final = 60.0  # seconds between two renewals, however short the life of a certificate is

Report = Callable[[str, str], None]
NOT_SERVED: Final = "kubelet API not served"
NOT_RENEWED: Final = "kubelet certificate not renewed"


class ServingTls:
    """See the module's text. Owns the current certificate, its key and the client CA."""

    def __init__(self, parent: Client, node: str, source: IdentitySource, report: Report) -> None:
        """`report` is called with each failure: NOT_SERVED or NOT_RENEWED, and the cause."""
        self._parent, self._node, self._source, self._report = parent, node, source, report
        self._rng = random.Random()
        self._identity: Identity
        self._ca = ""
        self._context: ssl.SSLContext | None = None
        self.renew_at = 0.0  # loop time

    async def obtain(self) -> None:
        """Returns once there is a certificate, however long that takes."""
        backoff = Backoff(base=0.5, cap=_RETRY_CAP, rng=self._rng)
        while True:
            try:
                await self._request()
                return
            except Exception as error:
                pause = backoff.failed()
                self._failed(NOT_SERVED, error, backoff)
            await asyncio.sleep(pause)

    async def keep_current(self) -> None:
        """Renews the certificate, and adopts a changed client CA, until cancelled. Neither waits for the other."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._repeat(self.renew, self._until_renewal))
            group.create_task(self._repeat(self.refresh_ca, lambda: _CHECK_CA))

    async def _repeat(self, refresh: Callable[[], Awaitable[None]], pause_before: Callable[[], float]) -> None:
        backoff = Backoff(base=10.0, cap=_RETRY_CAP, rng=self._rng)
        pause = pause_before()
        while True:
            await asyncio.sleep(pause)
            try:
                await refresh()
                backoff.succeeded()
                pause = pause_before()
            except Exception as error:
                pause = backoff.failed()
                self._failed(NOT_RENEWED, error, backoff)

    async def renew(self) -> None:
        """Obtains a certificate again if it is time. Raises an error of any kind."""
        if asyncio.get_running_loop().time() >= self.renew_at or self._source.changed():
            await self._request()
            log.info("kubelet certificate renewed", extra={"node": self._node})

    async def refresh_ca(self) -> None:
        """Adopts the parent's client CA if it has changed. Raises an error of any kind."""
        if (ca := await client_ca(self._parent)) != self._ca:
            self._adopt(self._identity, ca)

    def waiting(self, cause: VkError) -> None:
        """Reports why there is no new certificate yet; it is still waited for."""
        what = NOT_SERVED if self._context is None else NOT_RENEWED
        log.warning(what, extra={"node": self._node, "error": str(cause)})
        self._report(what, str(cause))

    def _failed(self, what: str, error: Exception, backoff: Backoff) -> None:
        expected = isinstance(error, VkError)
        text = str(error) if expected else f"{type(error).__name__}: {error}"
        fields = {"node": self._node, "attempt": backoff.failures, "error": text}
        log.log(backoff.level, what, extra=fields, exc_info=None if expected else error)
        self._report(what, text)

    def _until_renewal(self) -> float:
        return min(self._source.check_seconds, max(_SHORTEST, self.renew_at - asyncio.get_running_loop().time()))

    async def _request(self) -> None:
        ca = self._ca or await client_ca(self._parent)
        identity = await self._source.obtain()
        self._adopt(identity, self._ca or ca)
        seconds = math.inf
        if self._source.renewed:
            seconds = (identity.renew_at(self._rng) - self._parent.server_time()).total_seconds()
        self.renew_at = asyncio.get_running_loop().time() + seconds

    def _adopt(self, identity: Identity, ca: str) -> None:
        context = _server_context(identity, ca)  # raises before anything has changed
        self._identity, self._ca, self._context = identity, ca, context

    def front(self) -> ssl.SSLContext:
        """The context for the listening socket. Each handshake replaces it by the current one.

        What a handshake asks of the client is fixed before that, so it is set here as in `_server_context`. There are
        no tickets: a resumed session would bring in a client certificate without verifying it again, although it may
        have expired, or its CA may no longer be the parent's. (The session cache of TLS 1.2 cannot be switched off: see
        Gate.)
        """
        context = _context()
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        """Called in every handshake, with or without a server name."""
        if self._context is not None:
            connection.context = self._context


def _server_context(identity: Identity, ca: str) -> ssl.SSLContext:
    context = _context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=ca)
    keys.load_cert_chain(context, identity.certificate, identity.key)
    return context


def _context() -> ssl.SSLContext:
    """TLS 1.2 or newer. A client certificate is optional; if there is one, it must be valid."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    return context
