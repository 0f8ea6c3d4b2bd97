"""The pods of one virtual node, as both sides show them."""

from __future__ import annotations

from dataclasses import dataclass

from vk_provider.api import wellknown
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS
from vk_provider.translate.names import Names


@dataclass(frozen=True)
class PodCaches:
    """Parent pods that are bound to the virtual node, and the member pods that were made for it."""

    names: Names
    parent: Informer[Pod]
    member: Informer[Pod]

    @classmethod
    def of(cls, parent: Client, member: Client, names: Names) -> PodCaches:
        return cls(
            names,
            Informer(parent, PODS, Pod, fields=f"spec.nodeName={names.node}"),
            Informer(member, PODS, Pod, labels=names.selector),
        )

    def pair(self, namespace: str, name: str) -> tuple[Pod, Pod] | None:
        """The member pod with that name and its parent pod, if each is the other's."""
        member = self.member.items.get(f"{namespace}/{name}")
        parent = self.parent.items.get(self.names.parent_key(member.metadata)) if member else None
        if member is None or parent is None:
            return None
        ours = member.metadata.annotations.get(wellknown.PARENT_UID) == parent.metadata.uid
        return (parent, member) if ours else None
