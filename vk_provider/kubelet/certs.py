"""Certificates from the parent: the serving certificate of a virtual node, by CSR, and the CA of client certificates.

(https://kubernetes.io/docs/reference/access-authn-authz/certificate-signing-requests/: signer
kubernetes.io/kubelet-serving)
"""

from __future__ import annotations

import asyncio
import base64
import ipaddress
import random
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import NameOID

from vk_provider.errors import ConfigError, UnreachableError
from vk_provider.kube import keys
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Metadata, PartialObject, Payload
from vk_provider.kube.resources import CONFIG_MAPS, Resource

CSRS: Final = Resource(
    "certificates.k8s.io", "v1", "certificatesigningrequests", "CertificateSigningRequest", namespaced=False
)
_SIGNER: Final = "kubernetes.io/kubelet-serving"
_LIFE: Final = 30 * 24 * 3600  # seconds requested; the signer may grant less
_SIGNED_WITHIN: Final = 60.0  # seconds
_POLL: Final = 0.25  # seconds between two GETs of a CSR
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


class _CsrStatus(msgspec.Struct):
    certificate: str = ""
    conditions: list[Condition] = []


class _Csr(msgspec.Struct):
    metadata: Metadata
    status: _CsrStatus = msgspec.field(default_factory=_CsrStatus)


async def client_ca(parent: Client) -> str:
    """The CA, PEM, of the parent's client certificates. Raises ConfigError if the parent does not publish it."""
    namespace, name, key = _CLIENT_CA
    published = await parent.get(CONFIG_MAPS, name, namespace, type=Payload)
    if key not in published.data:
        raise ConfigError(f"configmap {namespace}/{name} of the parent has no {key}", reason="ClientCaMissing")
    return published.data[key]


async def request_identity(parent: Client, node: str, address: str) -> Identity:
    """A new key and a certificate for it, signed by the parent.

    Raises ForbiddenError if the provider may not create or approve the CSR, ConfigError if it is denied, and
    UnreachableError if it is not signed within a minute.
    """
    key = keys.generate()
    csr = await parent.create(CSRS, _request(key, node, address), type=_Csr)
    approval = {
        "apiVersion": CSRS.api_version,
        "kind": CSRS.kind,
        "metadata": {"name": csr.metadata.name, "uid": csr.metadata.uid},
        "status": {
            "conditions": [
                {
                    "type": "Approved",
                    "status": "True",
                    "reason": "VirtualNode",
                    "message": f"vk-provider serves virtual node {node}",
                }
            ]
        },
    }
    await parent.patch(CSRS, csr.metadata.name, approval, type=PartialObject, subresource="approval")
    certificate = await _signed(parent, csr.metadata.name)
    parsed = x509.load_pem_x509_certificate(certificate)
    return Identity(keys.pem(key), certificate, parsed.not_valid_after_utc, parsed.not_valid_before_utc)


def _request(key: keys.PrivateKey, node: str, address: str) -> dict[str, Any]:
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
            "signerName": _SIGNER,
            "expirationSeconds": _LIFE,
            "usages": ["digital signature", "server auth"],
        },
    }


async def _signed(parent: Client, name: str) -> bytes:
    try:
        async with asyncio.timeout(_SIGNED_WITHIN):
            while not (status := (await parent.get(CSRS, name, type=_Csr)).status).certificate:
                if refused := next((c for c in status.conditions if c.type in ("Denied", "Failed")), None):
                    raise ConfigError(
                        f"CertificateSigningRequest {name} of the parent: {refused.type}: {refused.message}",
                        remedy=f"see kubectl describe csr {name}",
                    )
                await asyncio.sleep(_POLL)
            return base64.b64decode(status.certificate)
    except TimeoutError as error:
        raise UnreachableError(
            f"CertificateSigningRequest {name} of the parent was not signed within {_SIGNED_WITHIN:.0f} s",
            remedy="check that the parent's controller-manager signs kubernetes.io/kubelet-serving",
        ) from error
