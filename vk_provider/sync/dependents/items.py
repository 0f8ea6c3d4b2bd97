"""What the copy loop works on: one object in the member, and what it holds."""

from __future__ import annotations

from dataclasses import dataclass

from vk_provider.api import wellknown
from vk_provider.translate.dependents.copies import Copy
from vk_provider.translate.names import Names
from vk_provider.translate.references import Kind


@dataclass(frozen=True)
class Payload:
    """A copy of a ConfigMap or Secret of the parent."""

    kind: Kind
    namespace: str  # of the parent
    name: str
    as_original: bool = False  # with the name of the original, for a running member pod of an earlier version

    def member_name(self, names: Names) -> str:
        return self.name if self.as_original else names.copy(self.name)


@dataclass(frozen=True)
class Tokens:
    """The service account tokens of one parent pod."""

    namespace: str
    pod: str
    uid: str  # of the parent pod
    kind: Kind = "Secret"

    def member_name(self, names: Names) -> str:
        return names.token_secret(self.pod, self.uid)


@dataclass(frozen=True)
class TrustAnchors:
    """The trust anchors that a query finds among the parent's ClusterTrustBundles."""

    namespace: str
    query: str
    kind: Kind = "ConfigMap"

    def member_name(self, names: Names) -> str:
        return names.trust_bundle(self.query)


Item = Payload | Tokens | TrustAnchors


def item_of(kind: Kind, copy: Copy, names: Names) -> Item | None:
    """The item that an object of ours in the member belongs to; None if it is not the copy loop's.

    Kind, name and annotations must agree: an object that has only the name of a copy is none.
    """
    metadata, annotations = copy.metadata, copy.metadata.annotations
    namespace, name = names.parent_key(metadata).split("/", 1)
    candidates: tuple[Item, ...]
    if wellknown.CERTIFICATES_RENEW in annotations:
        candidates = ()
    elif wellknown.TRUST_QUERY in annotations:
        candidates = (TrustAnchors(namespace, annotations[wellknown.TRUST_QUERY]),)
    elif wellknown.TOKEN_EXPIRES in annotations:
        candidates = (Tokens(namespace, name, annotations.get(wellknown.PARENT_UID, "")),)
    elif wellknown.PARENT_NAME in annotations:
        candidates = (Payload(kind, namespace, name), Payload(kind, namespace, name, as_original=True))
    else:
        candidates = ()
    place = (kind, metadata.namespace, metadata.name)
    return next((item for item in candidates if place == _place(item, names)), None)


def _place(item: Item, names: Names) -> tuple[str, str, str]:
    return item.kind, names.namespace(item.namespace), item.member_name(names)
