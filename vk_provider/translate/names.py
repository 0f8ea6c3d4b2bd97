"""Names of the parent's objects in a member, which objects of a member are ours, and names of containers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod

CredentialPart = Literal["bundle", "key", "chain"]

ROOT_CA: Final = "kube-root-ca.crt"  # every cluster publishes its own CA under this name, in every namespace
_LONGEST: Final = 253  # characters of the name of a ConfigMap or Secret
TRUST_ANCHORS_KEY: Final = "trust-anchors.pem"  # the only key of a ConfigMap that holds trust anchors


class _HasName(msgspec.Struct):
    name: str


class _Containers(msgspec.Struct, rename="camel"):
    containers: list[_HasName] = []
    init_containers: list[_HasName] | None = None
    ephemeral_containers: list[_HasName] | None = None


_containers: Final = msgspec.json.Decoder(_Containers)


@dataclass(frozen=True)
class Names:
    """Names for one virtual node, in both directions. Injective: two parent names never become one member name."""

    node: str
    parent: str  # UID of the parent's kube-system namespace
    prefix: str = ""

    @property
    def selector(self) -> str:
        """Label selector of everything that this virtual node creates in the member."""
        return f"{wellknown.PARENT_LABEL}={self.parent},{wellknown.NODE_LABEL}={self.node}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of everything that this virtual node creates in the member."""
        return {wellknown.PARENT_LABEL: self.parent, wellknown.NODE_LABEL: self.node}

    def namespace(self, name: str) -> str:
        """The member's namespace for a namespace of the parent; at most 63 characters (RFC 1123 label).

        Shortened names have exactly 63 characters and all others have fewer, so that both kinds never collide.
        """
        mapped = self.prefix + name
        if not self.prefix or len(mapped) < 63:
            return mapped
        return f"{mapped[:50]}-{_digest(mapped, 12)}"

    def member_key(self, parent_key: str) -> str:
        """`namespace/name` in the member of what has that key in the parent, if both have the same name."""
        namespace, name = parent_key.split("/", 1)
        return f"{self.namespace(namespace)}/{name}"

    def copy(self, name: str) -> str:
        """The member's name of the copy of a ConfigMap or Secret; at most 253 characters.

        The member's own objects do not have such names, so no pod of the parent can name one of those. The UID of the
        parent is part of it, because several parents may share a namespace of a member, and a parent may be a member
        itself. Shortened names have exactly 253 characters and all others have fewer, so that both kinds never collide.
        """
        suffix = f".{self.parent}"
        if len(name) + len(suffix) < _LONGEST:
            return name + suffix
        return f"{name[: _LONGEST - 32 - len(suffix)]}{_digest(name, 32)}{suffix}"

    def token_secret(self, pod: str, uid: str) -> str:
        """The Secret that holds the service account tokens of a pod; at most 253 characters."""
        return f"{pod[:220].rstrip('.-')}-tokens-{_digest(uid, 12)}"

    def certificate_secret(self, pod: str, uid: str) -> str:
        """The Secret that holds the certificates of a pod; at most 253 characters."""
        return f"{pod[:220].rstrip('.-')}-certificates-{_digest(uid, 12)}"

    def trust_bundle(self, query: str) -> str:
        """The ConfigMap that holds the trust anchors that a query finds in the parent."""
        return f"cluster-trust-bundle.{_digest(f'{self.parent} {query}', 32)}"

    def annotations(self, parent: Metadata) -> dict[str, str]:
        """Annotations that lead from a member object to its parent object."""
        return {
            wellknown.PARENT_UID: parent.uid,
            wellknown.PARENT_NAMESPACE: parent.namespace,
            wellknown.PARENT_NAME: parent.name,
        }

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether this virtual node created an object of the member with these labels."""
        return labels.get(wellknown.PARENT_LABEL) == self.parent and labels.get(wellknown.NODE_LABEL) == self.node

    def parent_key(self, member: Metadata) -> str:
        """`namespace/name` of the parent object of a member object."""
        namespace = member.annotations.get(wellknown.PARENT_NAMESPACE, member.namespace)
        return f"{namespace}/{member.annotations.get(wellknown.PARENT_NAME, member.name)}"


def source_key(volume: str, index: int) -> str:
    """Key, in a Secret of ours, of one source of a projected volume. Unique within a pod: volume names have no dots."""
    return f"{volume}.{index}"


def credential_key(source: str, part: CredentialPart) -> str:
    """Key, in a Secret of ours, of one part of a pod certificate; `source` as by `source_key`."""
    return f"{source}.{part}"


def with_parent_names(text: str, parent: Metadata, member: Metadata) -> str:
    """A text about the member pod, as a text about the parent pod.

    Kubelets write `name_namespace(UID)` in the messages of a status and in Events, and the names of ConfigMaps and
    Secrets. Names of copies become those of their originals, unless they are shortened.
    """
    if not member.uid:
        return text
    if parent_uid := member.labels.get(wellknown.PARENT_LABEL):
        text = text.replace(f".{parent_uid}", "")
    name = f"{member.name}_{member.namespace}({member.uid})"
    return text.replace(name, f"{parent.name}_{parent.namespace}({parent.uid})").replace(member.uid, parent.uid)


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def container_names(pod: Pod) -> frozenset[str]:
    """The names of all containers of a pod, init and ephemeral containers included."""
    spec = _containers.decode(pod.spec)
    return frozenset(
        c.name for c in (*spec.containers, *(spec.init_containers or ()), *(spec.ephemeral_containers or ()))
    )
