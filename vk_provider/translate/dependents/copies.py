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


def copy_of(payload: Payload) -> Copy:
    """Reduces a member's ConfigMap or Secret: contents are only compared."""
    return Copy(payload.metadata, digest(payload.data, payload.binary_data))


def digest(data: Mapping[str, str], binary_data: Mapping[str, str] | None = None) -> str:
    """A digest of contents, independent of the order of keys."""
    text = msgspec.json.encode([data, binary_data or {}], order="sorted")
    return hashlib.sha256(text).hexdigest()


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


def member_payload(kind: Kind, parent: Payload, names: Names) -> dict[str, Any]:
    """The manifest of the member's copy of a ConfigMap or Secret."""
    name = names.config_map(parent.metadata.name) if kind == "ConfigMap" else parent.metadata.name
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
        # A token Secret whose service account does not exist in the member would be deleted there.
        manifest["type"] = "Opaque" if parent.type == _SERVICE_ACCOUNT_TOKEN else parent.type
    if parent.immutable:
        manifest["immutable"] = True
    return manifest
