"""Copies of ConfigMaps and Secrets, and Secrets with tokens, as manifests and in the cache."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Payload
from vk_provider.translate.names import Names
from vk_provider.translate.references import Kind

_SERVICE_ACCOUNT_TOKEN: Final = "kubernetes.io/service-account-token"


class Copy(msgspec.Struct, gc=False):
    """The cached part of a ConfigMap or Secret of ours in the member: its metadata, and a digest of its contents."""

    metadata: Metadata
    digest: str

    def is_like(self, manifest: Mapping[str, Any], contents: str) -> bool:
        """Whether it is as the manifest, whose contents have that digest. Annotations of others do not count."""
        annotations = manifest["metadata"]["annotations"]
        return self.digest == contents and annotations.items() <= self.metadata.annotations.items()


class Original(msgspec.Struct, gc=False):
    """A ConfigMap or Secret of the parent, and the digest that its copy should have."""

    metadata: Metadata
    payload: Payload
    digest: str


def copy_of(payload: Payload) -> Copy:
    """Reduces a member's ConfigMap or Secret: contents are only compared."""
    return Copy(payload.metadata, digest(payload.data, payload.binary_data, payload.type, immutable=payload.immutable))


def original_of(payload: Payload) -> Original:
    """Computes the digest, once for each version of the object."""
    contents = digest(payload.data, payload.binary_data, _member_type(payload), immutable=payload.immutable)
    return Original(payload.metadata, payload, contents)


def digest(
    data: Mapping[str, str], binary_data: Mapping[str, str] | None = None, type: str = "", *, immutable: bool = False
) -> str:
    """A digest of everything that a copy has of its original, independent of the order of keys."""
    text = msgspec.json.encode([data, binary_data or {}, type, immutable], order="sorted")
    return hashlib.sha256(text).hexdigest()


def _member_type(parent: Payload) -> str:
    """The type of the copy of a Secret. A token Secret whose service account the member does not have would be deleted
    there.
    """
    return "Opaque" if parent.type == _SERVICE_ACCOUNT_TOKEN else parent.type


def token_manifest(pod: Metadata, tokens: Mapping[str, str], expires: str, renew: str, names: Names) -> dict[str, Any]:
    """The Secret of the member that holds a pod's tokens, by `names.source_key`. Times are RFC 3339."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": names.token_secret(pod.name, pod.uid),
            "namespace": names.namespace(pod.namespace),
            "labels": names.labels,
            "annotations": names.annotations(pod) | {wellknown.TOKEN_EXPIRES: expires, wellknown.TOKEN_RENEW: renew},
        },
        "type": "Opaque",
        "data": {key: base64.b64encode(token.encode()).decode() for key, token in tokens.items()},
    }


def member_payload(kind: Kind, name: str, parent: Payload, names: Names) -> dict[str, Any]:
    """The manifest of a copy of a ConfigMap or Secret, which has that `name` in the member."""
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": names.namespace(parent.metadata.namespace),
            "labels": names.labels,
            "annotations": names.annotations(parent.metadata),
        },
        "data": parent.data,
    }
    if parent.binary_data:
        manifest["binaryData"] = parent.binary_data
    if kind == "Secret":
        manifest["type"] = _member_type(parent)
    if parent.immutable:
        manifest["immutable"] = True
    return manifest
