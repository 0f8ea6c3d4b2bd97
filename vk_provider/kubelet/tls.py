"""TLS of the server of one virtual node: its certificate and the parent's client CA, renewed in place.

    requested by CSR --> served to new connections --> renewed at 70 to 90 % of its lifetime, or with a new client CA
        ^      |                                           |      ^
        +------+ failed: again, with backoff               +------+ failed: the old one serves on; again, with backoff

Open connections keep the certificate with which they began.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from typing import Final

from vk_provider.errors import VkError
from vk_provider.kube import keys
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kubelet.certs import Identity, client_ca, request_identity

log = logging.getLogger(__name__)

_CHECK_CA: Final = 300.0  # seconds between two GETs of the parent's client CA
_RETRY_CAP: Final = 120.0  # seconds


class ServingTls:
    """See the module's text. Owns the current certificate, its key and the client CA."""

    def __init__(self, parent: Client, node: str, address: str) -> None:
        self._parent, self._node, self._address = parent, node, address
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
            except VkError as error:
                pause = backoff.failed()
                fields = {"node": self._node, "attempt": backoff.failures, "error": str(error)}
                log.log(backoff.level, "kubelet API not served", extra=fields)
            await asyncio.sleep(pause)

    async def keep_current(self) -> None:
        """Renews the certificate, and adopts a changed client CA, until cancelled."""
        backoff = Backoff(base=10.0, cap=_RETRY_CAP, rng=self._rng)
        pause = self._until_refresh()
        while True:
            await asyncio.sleep(pause)
            try:
                await self.refresh()
                backoff.succeeded()
                pause = self._until_refresh()
            except VkError as error:
                pause = backoff.failed()
                fields = {"node": self._node, "attempt": backoff.failures, "error": str(error)}
                log.log(backoff.level, "kubelet certificate not renewed", extra=fields)

    async def refresh(self) -> None:
        """Renews the certificate if it is time, else adopts a changed client CA. Raises VkError."""
        if asyncio.get_running_loop().time() >= self.renew_at:
            await self._request()
            log.info("kubelet certificate renewed", extra={"node": self._node})
        elif (ca := await client_ca(self._parent)) != self._ca:
            self._adopt(self._identity, ca)

    def _until_refresh(self) -> float:
        return min(_CHECK_CA, max(1.0, self.renew_at - asyncio.get_running_loop().time()))

    async def _request(self) -> None:
        ca = await client_ca(self._parent)
        identity = await request_identity(self._parent, self._node, self._address)
        self._adopt(identity, ca)
        seconds = (identity.renew_at(self._rng) - self._parent.server_time()).total_seconds()
        self.renew_at = asyncio.get_running_loop().time() + seconds

    def _adopt(self, identity: Identity, ca: str) -> None:
        self._identity, self._ca = identity, ca
        self._context = _server_context(identity, ca)

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
