"""The serving certificate of a virtual node, and the CA of client certificates.

    ByRequest: a CertificateSigningRequest, approved here, watched until it is signed or refused, or expires
    FromFiles: a pair of files, read again when they change

(https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/: signer
kubernetes.io/kubelet-serving)
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import logging
import random
import ssl
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from vk_provider.config import CertificateFiles
from vk_provider.errors import ConfigError, ForbiddenError, NotFoundError, UnreachableError, VkError
from vk_provider.kube import keys
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Metadata, PartialObject, Payload, decode_event, event_decoder
from vk_provider.kube.resources import CONFIG_MAPS, Resource
from vk_provider.kube.watch import INACTIVITY

log = logging.getLogger(__name__)

CSRS: Final = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
_LIFE: Final = 30 * 24 * 3600  # seconds requested; the signer may grant less
_SIGNED_SOON: Final = 60.0  # seconds after which a request that is not signed is reported
_LOOK_CAP: Final = 60.0  # seconds between two watches of one request
_WATCH: Final = 300  # seconds
_CLIENT_CA: Final = ("kube-system", "extension-apiserver-authentication", "client-ca-file")


@dataclass(frozen=True)
class Identity:
    """A key and its certificate, PEM."""

    key: bytes
    certificate: bytes
    expires: datetime
    starts: datetime

    def renew_at(self, rng: random.Random) -> datetime:
        """Between 70 and 90 % of its lifetime, so that many nodes do not renew together."""
        return self.starts + (self.expires - self.starts) * rng.uniform(0.7, 0.9)


def _identity(key: bytes, certificate: bytes, origin: str) -> Identity:
    """Raises ConfigError if they are not a certificate and its key; `origin` names them."""
    try:
        parsed = x509.load_pem_x509_certificate(certificate)
        keys.load_cert_chain(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, key)
    except (ValueError, ssl.SSLError) as error:
        raise ConfigError(f"{origin} is not a certificate (PEM) with its private key: {error}") from error
    return Identity(key, certificate, parsed.not_valid_after_utc, parsed.not_valid_before_utc)


class IdentitySource(Protocol):
    """Interface: where the serving certificate comes from."""

    check_seconds: float  # how often `changed` is asked

    async def obtain(self) -> Identity:
        """A certificate and its key. Raises VkError."""

    def changed(self) -> bool:
        """Whether `obtain` has something else to offer than the last time."""

    @property
    def renewed(self) -> bool:
        """Whether a certificate has to be obtained again before it expires."""


class _CsrStatus(msgspec.Struct):
    certificate: str = ""
    conditions: list[Condition] = []


class _Csr(msgspec.Struct):
    metadata: Metadata
    status: _CsrStatus = msgspec.field(default_factory=_CsrStatus)


_changes = event_decoder(PartialObject)


async def client_ca(parent: Client) -> str:
    """The CA, PEM, of the parent's client certificates. Raises ConfigError if the parent publishes no valid one."""
    namespace, name, key = _CLIENT_CA
    published = await parent.get(CONFIG_MAPS, name, namespace, type=Payload)
    if key not in published.data:
        raise ConfigError(f"configmap {namespace}/{name} of the parent has no {key}", reason="ClientCaMissing")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=published.data[key])
    except (ValueError, ssl.SSLError) as error:
        raise ConfigError(f"{key} of configmap {namespace}/{name} of the parent is not a CA (PEM): {error}") from error
    return published.data[key]


class ByRequest:
    """Certificates that the parent signs."""

    check_seconds = 300.0
    renewed = True

    def __init__(
        self, parent: Client, node: str, address: str, signer: str, *, waiting: Callable[[VkError], None]
    ) -> None:
        """`waiting` is called with the reason if a request is not signed soon; the request is still waited for."""
        self._parent, self._node, self._address = parent, node, address
        self._signer, self._waiting = signer, waiting

    def changed(self) -> bool:
        return False

    async def obtain(self) -> Identity:
        """A new key and a certificate for it, however long signing takes.

        Raises ForbiddenError if the provider may not create or watch the request, ConfigError if it is denied, and
        UnreachableError if it is deleted before it is signed: controllers do that after some hours.
        """
        key = keys.generate()
        body = _request(key, self._node, self._address, self._signer)
        created = (await self._parent.create(CSRS, body, type=_Csr)).metadata
        name = created.name
        late = asyncio.get_running_loop().call_later(_SIGNED_SOON, self._report_late, name)
        try:
            await self._approve(created)
            certificate = await _signed(self._parent, name)
        finally:
            late.cancel()
        return _identity(keys.pem(key), certificate, f"what the parent signed for CertificateSigningRequest {name}")

    def _report_late(self, name: str) -> None:
        self._waiting(
            UnreachableError(
                f"CertificateSigningRequest {name} of the parent was not signed within {_SIGNED_SOON:.0f} s",
                remedy=f"check that the parent has a signer for {self._signer}, or see --kubelet-signer and "
                "--kubelet-cert-file of run",
            )
        )

    async def _approve(self, csr: Metadata) -> None:
        condition = {
            "type": "Approved",
            "status": "True",
            "reason": "VirtualNode",
            "message": f"vk-provider serves virtual node {self._node}",
        }
        body = {
            "apiVersion": CSRS.api_version,
            "kind": CSRS.kind,
            "metadata": {"name": csr.name, "uid": csr.uid},
            "status": {"conditions": [condition]},
        }
        try:
            await self._parent.patch(CSRS, csr.name, body, type=PartialObject, subresource="approval")
        except ForbiddenError as error:
            remedy = f"allow the provider to approve it, or run: kubectl certificate approve {csr.name}"
            self._waiting(ConfigError(error.message, remedy=remedy))


class FromFiles:
    """A certificate that something else keeps current, for example a mounted Secret."""

    check_seconds = 10.0
    renewed = False

    def __init__(self, files: CertificateFiles) -> None:
        self._files = files
        self._seen: object = None

    def changed(self) -> bool:
        return self._stamp() != self._seen

    async def obtain(self) -> Identity:
        """Raises ConfigError if they cannot be read, or do not belong together."""
        return await asyncio.to_thread(self.load)

    def load(self) -> Identity:
        """Reads both files. Raises ConfigError."""
        stamp, (certificate, key) = self._stamp(), self._files
        try:
            found = key.read_bytes(), certificate.read_bytes()
        except OSError as error:
            raise ConfigError(f"{error.filename}: {error.strerror}") from error
        identity = _identity(*found, f"{certificate} with {key}")
        self._seen = stamp
        return identity

    def _stamp(self) -> object:
        return [_stamp(path) for path in self._files]


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _request(key: keys.PrivateKey, node: str, address: str, signer: str) -> dict[str, Any]:
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "system:nodes"),
            x509.NameAttribute(NameOID.COMMON_NAME, f"system:node:{node}"),
        ]
    )
    names: list[x509.GeneralName] = [x509.DNSName(node), x509.IPAddress(ipaddress.ip_address(address))]
    unsigned = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(subject)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
    )
    csr = keys.sign(unsigned, key)
    return {
        "apiVersion": CSRS.api_version,
        "kind": CSRS.kind,
        "metadata": {"generateName": f"{node[:200]}-kubelet-serving-"},
        "spec": {
            "request": base64.b64encode(csr.public_bytes(serialization.Encoding.PEM)).decode(),
            "signerName": signer,
            "expirationSeconds": _LIFE,
            "usages": ["digital signature", "server auth"],
        },
    }


async def _signed(parent: Client, name: str) -> bytes:
    """The certificate, PEM, once there is one. Raises as `ByRequest.obtain`."""
    backoff, pause = Backoff(base=0.1, cap=_LOOK_CAP), 0.0
    while True:
        try:
            csr = await parent.get(CSRS, name, type=_Csr)
            if csr.status.certificate:
                return base64.b64decode(csr.status.certificate)
            if refused := next((c for c in csr.status.conditions if c.type in ("Denied", "Failed")), None):
                raise ConfigError(
                    f"CertificateSigningRequest {name} of the parent: {refused.type}: {refused.message}",
                    remedy=f"see kubectl describe csr {name}",
                )
            await asyncio.sleep(pause)  # a request that changes all the time must not be read all the time
            await _changed(parent, csr.metadata)
            pause = backoff.failed()
        except NotFoundError as error:
            raise UnreachableError(f"CertificateSigningRequest {name} was deleted before it was signed") from error
        except (ForbiddenError, ConfigError):
            raise
        except VkError as error:
            log.debug("certificate request not watched", extra={"request": name, "error": str(error)})
            await asyncio.sleep(backoff.failed())


async def _changed(parent: Client, csr: Metadata) -> None:
    """Returns when the request has changed since that version, and at times without a change. Raises UnreachableError
    when not even bookmarks arrive."""
    query = {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "fieldSelector": f"metadata.name={csr.name}",
        "resourceVersion": csr.resource_version,
        "timeoutSeconds": str(_WATCH),
    }
    async with aclosing(parent.stream(CSRS.path(), query, inactivity=INACTIVITY)) as lines:
        async for line in lines:
            if line and decode_event(_changes, line).type != "BOOKMARK":
                return
