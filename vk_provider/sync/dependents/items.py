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

    def member_name(self, names: Names) -> str:
        return names.config_map(self.name) if self.kind == "ConfigMap" else self.name


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
    """The item that an object of ours in the member belongs to; None if it is not the copy loop's."""
    annotations = copy.metadata.annotations
    if wellknown.CERTIFICATES_RENEW in annotations:
        return None
    namespace, name = names.parent_key(copy.metadata).split("/", 1)
    if wellknown.TRUST_QUERY in annotations:
        return TrustAnchors(namespace, annotations[wellknown.TRUST_QUERY])
    if wellknown.TOKEN_EXPIRES in annotations:
        return Tokens(namespace, name, annotations.get(wellknown.PARENT_UID, ""))
    return Payload(kind, namespace, name)
