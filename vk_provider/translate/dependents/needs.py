"""What a pod needs beside it: which ConfigMaps, Secrets and tokens its spec names, and their form in the member."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Payload, Pod
from vk_provider.translate.dependents.trust_bundles import TrustQuery
from vk_provider.translate.names import Names

Kind = Literal["ConfigMap", "Secret"]

# Volume sources that name a Secret, and where: every one that the API has.
_VOLUME_SECRETS: Final = (
    ("secret", "secretName"),
    ("azureFile", "secretName"),
    ("cephfs", "secretRef"),
    ("cinder", "secretRef"),
    ("flexVolume", "secretRef"),
    ("iscsi", "secretRef"),
    ("rbd", "secretRef"),
    ("scaleIO", "secretRef"),
    ("storageos", "secretRef"),
    ("csi", "nodePublishSecretRef"),
)
CONTAINER_LISTS: Final = ("initContainers", "containers", "ephemeralContainers")
_SERVICE_ACCOUNT_TOKEN: Final = "kubernetes.io/service-account-token"
DEFAULT_TOKEN_SECONDS: Final = 3600


@dataclass(frozen=True, order=True)
class Reference:
    """A ConfigMap or Secret in the pod's namespace, by its name in the parent."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class TokenSource:
    """One `serviceAccountToken` of a projected volume; `key` is where its Secret in the member holds the token."""

    key: str
    audience: str
    expiration_seconds: int


@dataclass(frozen=True)
class Needs:
    """Everything that a pod's spec names."""

    references: frozenset[Reference]
    tokens: tuple[TokenSource, ...]
    trust: frozenset[TrustQuery]
    service_account: str


class _PodSpec(msgspec.Struct, rename="camel"):
    """The parts of a spec that can name something; the rest is skipped, not decoded."""

    volumes: list[dict[str, Any]] = []
    image_pull_secrets: list[dict[str, str]] = []
    init_containers: list[_Container] = []
    containers: list[_Container] = []
    ephemeral_containers: list[_Container] = []
    service_account_name: str = "default"


class _Container(msgspec.Struct, rename="camel"):
    env: list[dict[str, Any]] = []
    env_from: list[dict[str, Any]] = []


_spec = msgspec.json.Decoder(_PodSpec)


def needs(pod: Pod) -> Needs:
    """What the pod names, each once; optional references too."""
    spec = _spec.decode(pod.spec)
    references = {Reference("Secret", entry["name"]) for entry in spec.image_pull_secrets if entry.get("name")}
    for container in (*spec.init_containers, *spec.containers, *spec.ephemeral_containers):
        references.update(_of_container(container))
    for volume in spec.volumes:
        references.update(_of_volume(volume))
    return Needs(
        frozenset(references),
        tuple(token_sources(spec.volumes)),
        frozenset(_trust_queries(spec.volumes)),
        spec.service_account_name,
    )


def token_sources(volumes: list[dict[str, Any]]) -> Iterator[TokenSource]:
    """The projected tokens of a pod's volumes, in order."""
    for volume in volumes:
        for index, source in enumerate(volume.get("projected", {}).get("sources") or []):
            if token := source.get("serviceAccountToken"):
                yield TokenSource(
                    token_key(volume["name"], index),
                    token.get("audience", ""),
                    token.get("expirationSeconds", DEFAULT_TOKEN_SECONDS),
                )


def _trust_queries(volumes: list[dict[str, Any]]) -> Iterator[TrustQuery]:
    for volume in volumes:
        for source in volume.get("projected", {}).get("sources") or []:
            if bundle := source.get("clusterTrustBundle"):
                yield TrustQuery.of(bundle)


def token_key(volume: str, index: int) -> str:
    """Key of a token within the pod's token Secret."""
    return f"{volume}.{index}"


def _of_container(container: _Container) -> Iterator[Reference]:
    for entry in container.env_from:
        if name := entry.get("configMapRef", {}).get("name"):
            yield Reference("ConfigMap", name)
        if name := entry.get("secretRef", {}).get("name"):
            yield Reference("Secret", name)
    for entry in container.env:
        source = entry.get("valueFrom") or {}
        if name := source.get("configMapKeyRef", {}).get("name"):
            yield Reference("ConfigMap", name)
        if name := source.get("secretKeyRef", {}).get("name"):
            yield Reference("Secret", name)


def _of_volume(volume: dict[str, Any]) -> Iterator[Reference]:
    if name := volume.get("configMap", {}).get("name"):
        yield Reference("ConfigMap", name)
    for source, field in _VOLUME_SECRETS:
        named = volume.get(source, {}).get(field)
        name = named.get("name") if isinstance(named, dict) else named
        if name:
            yield Reference("Secret", name)
    for source in volume.get("projected", {}).get("sources") or []:
        if name := source.get("configMap", {}).get("name"):
            yield Reference("ConfigMap", name)
        if name := source.get("secret", {}).get("name"):
            yield Reference("Secret", name)


class Copy(msgspec.Struct, gc=False):
    """What is kept of a ConfigMap or Secret that we made in the member: whose it is, and a digest of what it holds."""

    metadata: Metadata
    digest: str


def copy_of(payload: Payload) -> Copy:
    """Shrinks a member's ConfigMap or Secret: contents are compared, never needed again."""
    return Copy(payload.metadata, digest(payload.data, payload.binary_data))


def digest(data: Mapping[str, str], binary_data: Mapping[str, str] | None = None) -> str:
    """Of contents, independent of the order of keys."""
    text = msgspec.json.encode([data, binary_data or {}], order="sorted")
    return hashlib.sha256(text).hexdigest()


def token_manifest(pod: Metadata, tokens: Mapping[str, str], expires: str, renew: str, names: Names) -> dict[str, Any]:
    """The Secret of the member that holds a pod's tokens, by `token_key`. Times are RFC 3339."""
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
    """The member's copy of a ConfigMap or Secret, as a manifest."""
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
        # The member would delete a token Secret whose service account it does not know.
        manifest["type"] = "Opaque" if parent.type == _SERVICE_ACCOUNT_TOKEN else parent.type
    if parent.immutable:
        manifest["immutable"] = True
    return manifest
