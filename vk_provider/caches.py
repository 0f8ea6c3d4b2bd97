"""Everything of both sides that one member's loops look at, as lists that are kept."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.errors import UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, PartialObject, Pod
from vk_provider.kube.resources import LEASES, NAMESPACES, NODES, PODS
from vk_provider.sync.dependents.copies import Copies
from vk_provider.sync.dependents.reflections import Reflections
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.node import MemberNode, Usage, member_node, usage

_FIRST_LISTS: Final = 120.0  # seconds for all caches to be complete


@dataclass(frozen=True)
class Caches:
    """See the module's text. Whoever has them runs their informers."""

    parent_pods: Informer[Pod]
    member_pods: Informer[Pod]
    others: Informer[Usage]
    nodes: Informer[MemberNode]
    namespaces: Informer[PartialObject]
    leases: Informer[PartialObject]  # of the member's nodes: a sign of life every few seconds, nobody reads them
    copies: Copies
    reflections: Reflections

    @classmethod
    def of(cls, parent: Client, member: Client, names: Names) -> Caches:
        return cls(
            parent_pods=Informer(parent, PODS, Pod, fields=f"spec.nodeName={names.node}"),
            member_pods=Informer(member, PODS, Pod, labels=names.selector),
            others=Informer(
                member,
                PODS,
                Pod,
                labels=f"{wellknown.PARENT_LABEL}!={names.parent}",
                fields="status.phase!=Succeeded,status.phase!=Failed",
                keep=usage,
            ),
            nodes=Informer(member, NODES, Node, keep=member_node),
            namespaces=Informer(member, NAMESPACES, PartialObject),
            leases=Informer(member, LEASES, PartialObject, namespace="kube-node-lease"),
            copies=Copies.of(member, names),
            reflections=Reflections.of(member, names),
        )

    async def synced(self, member: Client) -> None:
        """Returns when all of them are complete. Raises UnreachableError where that takes too long."""
        try:
            async with asyncio.timeout(_FIRST_LISTS):
                for informer in self.all():
                    await informer.synced.wait()
        except TimeoutError as error:
            missing = ", ".join(repr(informer) for informer in self.all() if not informer.synced.is_set())
            raise UnreachableError(f"{member.server}: not listed in {_FIRST_LISTS:.0f} s: {missing}") from error

    def all(self) -> list[Informer[Any]]:
        return [
            self.parent_pods,
            self.member_pods,
            self.others,
            self.nodes,
            self.namespaces,
            self.leases,
            *self.copies.lists.values(),
            self.reflections.services,
            self.reflections.slices,
        ]

    def in_use(self, namespace: str) -> bool:
        """Whether a namespace of the member holds pods, of anybody, or copies of ours."""
        held: list[Informer[Any]] = [self.member_pods, self.others, *self.copies.lists.values()]
        return any(item.metadata.namespace == namespace for informer in held for item in informer.items.values())

    def count_in_member(self) -> int:
        """How many pods, copies and reflections of ours are in the member."""
        return len(self.member_pods.items) + self.copies.count() + self.reflections.count()
