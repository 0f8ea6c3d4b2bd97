"""Pod certificates: what the `podCertificate` sources of a pod ask for, and the Secret that holds the results.

A kubelet generates the key, requests a certificate in the name of the pod, and writes both into the volume. Here they
are written into a Secret of the member, which the member pod mounts instead.
(https://kubernetes.io/docs/concepts/storage/projected-volumes/#podcertificate)
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Condition, Metadata, Pod
from vk_provider.translate.dependents.pem import certificates
from vk_provider.translate.names import CredentialPart, Names, credential_key, source_key
from vk_provider.translate.references import decode, projected_sources


@dataclass(frozen=True)
class CertificateSource:
    """One `podCertificate` of a projected volume; `name` is unique within the pod."""

    name: str
    signer: str
    key_type: str
    max_expiration_seconds: int | None
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Credential:
    """A key and its certificates, both PEM."""

    key: str
    chain: str


class _RequestSpec(msgspec.Struct, gc=False):
    pod_name: str = msgspec.field(default="", name="podName")
    pod_uid: str = msgspec.field(default="", name="podUID")


class _RequestStatus(msgspec.Struct, rename="camel", gc=False):
    conditions: list[Condition] = []
    certificate_chain: str = ""
    begin_refresh_at: str = ""


class CertificateRequest(msgspec.Struct, gc=False):
    """A PodCertificateRequest: its pod, and its result."""

    metadata: Metadata
    spec: _RequestSpec = msgspec.field(default_factory=_RequestSpec)
    status: _RequestStatus = msgspec.field(default_factory=_RequestStatus)

    @property
    def verdict(self) -> Condition | None:
        """The condition Issued, Denied or Failed, all of which are final; None while the request is undecided."""
        return next((c for c in self.status.conditions if c.type in ("Issued", "Denied", "Failed")), None)

    @property
    def chain(self) -> str:
        """The certificates as PEM, without text that the signer may have written between them."""
        return "".join(certificates(self.status.certificate_chain))


def certificate_sources(pod: Pod) -> list[CertificateSource]:
    """The sources in the order of the pod's volumes."""
    return [
        CertificateSource(
            source_key(volume["name"], index),
            certificate["signerName"],
            certificate["keyType"],
            certificate.get("maxExpirationSeconds"),
            certificate.get("userAnnotations") or {},
        )
        for volume, index, source in projected_sources(decode(pod))
        if (certificate := source.get("podCertificate"))
    ]


def service_account(pod: Pod) -> str:
    """The service account that the pod requests certificates as."""
    account: str = decode(pod).get("serviceAccountName") or "default"
    return account


def request_manifest(
    pod: Pod, source: CertificateSource, account_uid: str, node: Metadata, stub: bytes
) -> dict[str, Any]:
    """The PodCertificateRequest. `stub`: a PKCS#10 request, DER, which proves possession of the key."""
    spec: dict[str, Any] = {
        "signerName": source.signer,
        "podName": pod.metadata.name,
        "podUID": pod.metadata.uid,
        "serviceAccountName": service_account(pod),
        "serviceAccountUID": account_uid,
        "nodeName": node.name,
        "nodeUID": node.uid,
        "stubPKCS10Request": base64.b64encode(stub).decode(),
    }
    if source.max_expiration_seconds is not None:
        spec["maxExpirationSeconds"] = source.max_expiration_seconds
    if source.annotations:
        spec["unverifiedUserAnnotations"] = dict(source.annotations)
    owner = {"apiVersion": "v1", "kind": "Pod", "name": pod.metadata.name, "uid": pod.metadata.uid}
    return {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "PodCertificateRequest",
        "metadata": {"generateName": "req-", "ownerReferences": [owner]},
        "spec": spec,
    }


def credentials_manifest(
    pod: Metadata, credentials: Mapping[str, Credential], renew: str, names: Names
) -> dict[str, Any]:
    """The Secret of the member with a pod's credentials, which are given by name of their source. `renew`: RFC 3339."""
    data = {
        credential_key(name, part): base64.b64encode(text.encode()).decode()
        for name, credential in credentials.items()
        for part, text in _parts(credential)
    }
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.certificate_secret(pod.name, pod.uid),
            "namespace": names.namespace(pod.namespace),
            "labels": names.labels,
            "annotations": names.annotations(pod) | {wellknown.CERTIFICATES_RENEW: renew},
        },
        "type": "Opaque",
        "data": data,
    }


def _parts(credential: Credential) -> Iterator[tuple[CredentialPart, str]]:
    yield "bundle", credential.key + credential.chain
    yield "key", credential.key
    yield "chain", credential.chain
