"""The lists that the loops of one member look at, on both sides.

Per member: its nodes, the pods of others there, and what belongs to dependents. Per virtual node: its pods.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.errors import UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, PartialObject, Pod
from vk_provider.kube.resources import LEASES, NODES, PODS
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node
from vk_provider.translate.nodes.requests import Usage, usage
from vk_provider.translate.state.rights import ALL_RIGHTS, Feature, Rights

_FIRST_LISTS: Final = 120.0  # seconds in which no list makes progress


@dataclass(frozen=True)
class Caches:
    """See the module's text. The composition runs the informers of `all`."""

    server: str  # of the member
    virtual_nodes: Sequence[PodCaches]
    others: Informer[Usage]
    earlier: Informer[Usage]  # pods of this parent that were made for virtual nodes which the member no longer has
    nodes: Informer[MemberNode]
    # Of the member's nodes: a sign of life every few seconds; their contents are not read. None: not permitted.
    leases: Informer[PartialObject] | None
    dependents: DependentCaches

    @classmethod
    def of(
        cls,
        parent: Client,
        member: Client,
        names: Names,
        node_names: Sequence[str],
        rights: Rights = ALL_RIGHTS,
    ) -> Caches:
        """`names` are those of the objects that all virtual nodes of the member share. What `rights` do not permit to
        list is not listed.
        """
        virtual_nodes = [PodCaches.of(parent, member, replace(names, node=node)) for node in node_names]
        not_ours = f"{wellknown.PARENT_LABEL}!={names.parent}"
        running = "status.phase!=Succeeded,status.phase!=Failed"
        others: Informer[Usage] = Informer(member, PODS, Pod, labels=not_ours, fields=running, keep=usage)
        leases: Informer[PartialObject] = Informer(member, LEASES, PartialObject, namespace="kube-node-lease")
        nodes: Informer[MemberNode] = Informer(member, NODES, Node, keep=member_node)
        former = f"{wellknown.PARENT_LABEL}={names.parent},{wellknown.NODE_LABEL} notin ({','.join(node_names)})"
        return cls(
            server=member.server,
            virtual_nodes=virtual_nodes,
            others=others,
            earlier=Informer(member, PODS, Pod, labels=former, fields=running, keep=usage),
            nodes=nodes,
            leases=leases if rights.has(Feature.LEASES) else None,
            dependents=DependentCaches.of(member, names, virtual_nodes, nodes, rights),
        )

    def essential(self) -> list[Informer[Any]]:
        """The lists of the member that everything needs. That of the parent's pods tells nothing about the member."""
        pods = [node.member for node in self.virtual_nodes]
        return [*pods, self.others, self.earlier, self.nodes, *self.dependents.essential()]

    def optional(self) -> list[Informer[Any]]:
        """The lists that one feature needs each."""
        leases = [self.leases] if self.leases is not None else []
        return [*leases, *self.dependents.optional()]

    def all(self) -> list[Informer[Any]]:
        """Every list."""
        return [*(node.parent for node in self.virtual_nodes), *self.essential(), *self.optional()]

    async def synced(self) -> None:
        """Returns when all lists are complete. Raises UnreachableError if they no longer make progress."""
        loop = asyncio.get_running_loop()
        started, lists = loop.time(), self.all()
        for informer in lists:
            while not informer.synced.is_set():
                deadline = max(started, *(each.progress for each in lists)) + _FIRST_LISTS
                if loop.time() >= deadline:
                    missing = ", ".join(repr(each) for each in lists if not each.synced.is_set())
                    raise UnreachableError(f"{self.server}: no progress in {_FIRST_LISTS:.0f} s: {missing}")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(deadline):
                        await informer.synced.wait()
        # What is cached now lives long, and the collector need not look at it again and again. What an earlier attempt
        # at a member left behind must not stay, so everything is collected first.
        gc.unfreeze()
        gc.collect()
        gc.freeze()
