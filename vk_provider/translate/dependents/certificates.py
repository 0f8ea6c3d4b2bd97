"""Pod certificates: what a pod's `podCertificate` sources ask for, and what the member holds of the answers.

A kubelet makes the key, asks the API server in the pod's name, and writes key and chain into the volume; here they go
into a Secret of the member that the pod mounts instead.
(https://kubernetes.io/docs/concepts/storage/projected-volumes/#podcertificate)
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Condition, Metadata, Pod
from vk_provider.translate.names import Names

_MENTION: Final = b'"podCertificate"'
# Field of a source -> the part of its credential that goes into the file of that name.
_PARTS: Final = {"credentialBundlePath": "bundle", "keyPath": "key", "certificateChainPath": "chain"}
_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True)
class CertificateSource:
    """One `podCertificate` of a projected volume; `name` tells it from the others of the pod."""

    name: str
    signer: str
    key_type: str
    max_expiration_seconds: int | None
    annotations: Mapping[str, str]


@dataclass(frozen=True)
class Credential:
    """A key and the certificates for it, both PEM."""

    key: str
    chain: str


class _Source(msgspec.Struct, rename="camel"):
    signer_name: str
    key_type: str
    max_expiration_seconds: int | None = None
    user_annotations: dict[str, str] = {}


class _Projection(msgspec.Struct, rename="camel"):
    pod_certificate: _Source | None = None


class _Projected(msgspec.Struct):
    sources: list[_Projection] | None = None


class _Volume(msgspec.Struct):
    name: str
    projected: _Projected = msgspec.field(default_factory=_Projected)


class _Spec(msgspec.Struct, rename="camel"):
    volumes: list[_Volume] = []
    service_account_name: str = "default"


class _RequestSpec(msgspec.Struct, gc=False):
    pod_name: str = msgspec.field(default="", name="podName")
    pod_uid: str = msgspec.field(default="", name="podUID")


class _RequestStatus(msgspec.Struct, rename="camel", gc=False):
    conditions: list[Condition] = []
    certificate_chain: str = ""
    begin_refresh_at: str = ""


class CertificateRequest(msgspec.Struct, gc=False):
    """A PodCertificateRequest: whose it is, and what became of it."""

    metadata: Metadata
    spec: _RequestSpec = msgspec.field(default_factory=_RequestSpec)
    status: _RequestStatus = msgspec.field(default_factory=_RequestStatus)

    @property
    def verdict(self) -> Condition | None:
        """Issued, Denied or Failed, all of them final; None as long as nobody has decided."""
        return next((c for c in self.status.conditions if c.type in ("Issued", "Denied", "Failed")), None)

    @property
    def chain(self) -> str:
        """The certificates alone, without what a signer may have written between them."""
        return "".join(f"{block}\n" for block in _BLOCK.findall(self.status.certificate_chain))


_spec = msgspec.json.Decoder(_Spec)


def wants_certificates(pod: Pod) -> bool:
    """Whether the pod may have such sources; cheap, and never wrong when it says no."""
    return _MENTION in bytes(pod.spec)


def certificate_sources(pod: Pod) -> list[CertificateSource]:
    """In the order of the pod's volumes."""
    return [
        CertificateSource(
            source_name(volume.name, index),
            source.signer_name,
            source.key_type,
            source.max_expiration_seconds,
            source.user_annotations,
        )
        for volume in _spec.decode(pod.spec).volumes
        for index, projection in enumerate(volume.projected.sources or ())
        if (source := projection.pod_certificate)
    ]


def service_account(pod: Pod) -> str:
    """In whose name the pod asks."""
    return _spec.decode(pod.spec).service_account_name


def source_name(volume: str, index: int) -> str:
    """Unique within a pod: names of volumes have no dots."""
    return f"{volume}.{index}"


def mounted(source: Mapping[str, Any], name: str, secret: str) -> dict[str, Any]:
    """What takes the place of a `podCertificate` source in the member: the same files, from the Secret."""
    items = [{"key": f"{name}.{part}", "path": source[field]} for field, part in _PARTS.items() if source.get(field)]
    return {"name": secret, "items": items}


def request_manifest(
    pod: Pod, source: CertificateSource, account_uid: str, node: Metadata, stub: bytes
) -> dict[str, Any]:
    """The PodCertificateRequest. `stub`: a PKCS#10 request, DER, which proves that the key is at hand."""
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
    """The Secret of the member with a pod's credentials, by name of their source. `renew`: RFC 3339."""
    data = {
        f"{name}.{part}": base64.b64encode(text.encode()).decode()
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


def _parts(credential: Credential) -> Iterator[tuple[Literal["bundle", "key", "chain"], str]]:
    yield "bundle", credential.key + credential.chain
    yield "key", credential.key
    yield "chain", credential.chain
