"""What things of the parent are called in a member, and whose they are there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata

ROOT_CA: Final = "kube-root-ca.crt"  # every cluster publishes its own CA under this name, in every namespace


@dataclass(frozen=True)
class Names:
    """Both directions of naming for one virtual node. Injective: two parent names never meet in one member name."""

    node: str
    parent: str  # UID of the parent's kube-system namespace
    prefix: str = ""

    @property
    def selector(self) -> str:
        """Label selector of everything that this virtual node made in the member."""
        return f"{wellknown.PARENT_LABEL}={self.parent},{wellknown.NODE_LABEL}={self.node}"

    @property
    def labels(self) -> dict[str, str]:
        """Labels of everything that this virtual node makes in the member."""
        return {wellknown.PARENT_LABEL: self.parent, wellknown.NODE_LABEL: self.node}

    def namespace(self, name: str) -> str:
        """The member's namespace for one of the parent; at most 63 characters (RFC 1123 label).

        Shortened names have all 63 and others fewer, so that no namespace can be named to meet another's.
        """
        mapped = self.prefix + name
        if not self.prefix or len(mapped) < 63:
            return mapped
        return f"{mapped[:50]}-{_digest(mapped, 12)}"

    def config_map(self, name: str) -> str:
        """The member's name for a ConfigMap: the same, but for the parent's root CA, whose name is taken.

        Names the parent: several parents may share a namespace of a member, and a parent may be a member itself.
        """
        return f"{ROOT_CA}.{self.parent}" if name == ROOT_CA else name

    def token_secret(self, pod: str, uid: str) -> str:
        """The Secret that holds a pod's service account tokens; at most 253 characters."""
        return f"{pod[:220].rstrip('.-')}-tokens-{_digest(uid, 12)}"

    def certificate_secret(self, pod: str, uid: str) -> str:
        """The Secret that holds a pod's certificates; at most 253 characters."""
        return f"{pod[:220].rstrip('.-')}-certificates-{_digest(uid, 12)}"

    def trust_bundle(self, query: str) -> str:
        """The ConfigMap that holds the trust anchors that a query finds in the parent."""
        return f"cluster-trust-bundle.{_digest(f'{self.parent} {query}', 32)}"

    def annotations(self, parent: Metadata) -> dict[str, str]:
        """Annotations that lead from a member object back to its parent object."""
        return {
            wellknown.PARENT_UID: parent.uid,
            wellknown.PARENT_NAMESPACE: parent.namespace,
            wellknown.PARENT_NAME: parent.name,
        }

    def owns(self, labels: Mapping[str, str]) -> bool:
        """Whether an object of the member with these labels was made by this virtual node."""
        return labels.get(wellknown.PARENT_LABEL) == self.parent and labels.get(wellknown.NODE_LABEL) == self.node

    def parent_key(self, member: Metadata) -> str:
        """`namespace/name` of the parent object that a member object stands for."""
        namespace = member.annotations.get(wellknown.PARENT_NAMESPACE, member.namespace)
        return f"{namespace}/{member.annotations.get(wellknown.PARENT_NAME, member.name)}"


def said_of_parent(text: str, parent: Metadata, member: Metadata) -> str:
    """What the member says of a pod, as said of the parent pod: kubelets call a pod `name_namespace(UID)`, in messages
    of a status and in Events.
    """
    if not member.uid:
        return text
    called = f"{member.name}_{member.namespace}({member.uid})"
    return text.replace(called, f"{parent.name}_{parent.namespace}({parent.uid})").replace(member.uid, parent.uid)


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:length]
