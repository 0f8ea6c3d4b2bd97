"""The dependents of a pod: which ConfigMaps, Secrets, tokens and trust bundles its spec names."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from vk_provider.kube.objects import Pod
from vk_provider.translate.dependents.trust_bundles import BundleQuery
from vk_provider.translate.names import ROOT_CA, Names, source_key
from vk_provider.translate.references import Kind, Spec, decode, named_objects, projected_sources

DEFAULT_TOKEN_SECONDS: Final = 3600


class Reference(NamedTuple):
    """A ConfigMap or Secret in the pod's namespace, by its name in the parent."""

    kind: Kind
    name: str


@dataclass(frozen=True)
class TokenSource:
    """One `serviceAccountToken` of a projected volume; `key` is the key of the token in its Secret in the member."""

    key: str
    audience: str
    expiration_seconds: int


@dataclass(frozen=True)
class Needs:
    """Everything that a pod's spec names."""

    references: frozenset[Reference]
    tokens: tuple[TokenSource, ...]
    bundles: frozenset[BundleQuery]
    service_account: str


def needs(pod: Pod) -> Needs:
    """What the pod names, each object once; optional references too.

    `references.mentions_dependents` is a cheap check whether there can be any.
    """
    spec = decode(pod)
    references = _references(spec)
    tokens: list[TokenSource] = []
    bundles: set[BundleQuery] = set()
    for volume, index, source in projected_sources(spec):
        if token := source.get("serviceAccountToken"):
            seconds = token.get("expirationSeconds", DEFAULT_TOKEN_SECONDS)
            tokens.append(TokenSource(source_key(volume["name"], index), token.get("audience", ""), seconds))
        if bundle := source.get("clusterTrustBundle"):
            bundles.add(BundleQuery.of(bundle))
    return Needs(references, tuple(tokens), frozenset(bundles), spec.get("serviceAccountName") or "default")


def named_as_originals(references: Iterable[Reference], member: Pod, names: Names) -> frozenset[Reference]:
    """Those of the parent pod's `references` that its running member pod makes by the name of the original.

    Earlier versions of the provider created member pods and copies like that. Ephemeral containers, which may be newer
    than their pod, do not decide. For a pod of this version this is a search in the bytes of its spec.
    """
    spec = bytes(member.spec)
    certain = b'"ephemeralContainers"' not in spec
    candidates = [
        one
        for one in references
        if one.name != ROOT_CA and not (certain and f'"{names.copy(one.name)}"'.encode() in spec)
    ]
    if not candidates:
        return frozenset()
    decoded = decode(member)
    everywhere = _references(decoded)
    at_creation = _references({**decoded, "ephemeralContainers": []})
    return frozenset(
        one for one in candidates if one in everywhere and Reference(one.kind, names.copy(one.name)) not in at_creation
    )


def _references(spec: Spec) -> frozenset[Reference]:
    return frozenset(Reference(kind, holder[field]) for kind, holder, field, _ in named_objects(spec))
