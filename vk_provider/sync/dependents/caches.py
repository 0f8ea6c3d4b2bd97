"""The lists of a member that its dependents are kept by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import NAMESPACES, NETWORK_POLICIES
from vk_provider.sync.dependents.copies import Copies
from vk_provider.sync.dependents.reflections import Reflections
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.dependents.network_policies import NetworkPolicy
from vk_provider.translate.names import Names
from vk_provider.translate.state.rights import ALL_RIGHTS, Feature, Rights


@dataclass(frozen=True)
class DependentCaches:
    """Once per member; `nodes` has the pods of each virtual node.

    Without the right to list Services or EndpointSlices, `reflections` stay empty; so do `policies` without theirs.
    """

    nodes: Sequence[PodCaches]
    namespaces: Informer[PartialObject]
    copies: Copies
    reflections: Reflections
    policies: Informer[NetworkPolicy]
    rights: Rights

    @classmethod
    def of(
        cls, member: Client, names: Names, nodes: Sequence[PodCaches], rights: Rights = ALL_RIGHTS
    ) -> DependentCaches:
        """`names` are those of the objects that all virtual nodes of the member share."""
        namespaces: Informer[PartialObject] = Informer(member, NAMESPACES, PartialObject)
        policies: Informer[NetworkPolicy] = Informer(member, NETWORK_POLICIES, NetworkPolicy, labels=names.selector)
        return cls(nodes, namespaces, Copies.of(member, names), Reflections.of(member, names), policies, rights)

    def own(self) -> list[Informer[Any]]:
        """The lists that only dependents use."""
        return [*self.essential(), *self.optional()]

    def essential(self) -> list[Informer[Any]]:
        """Those that pods cannot do without."""
        return [self.namespaces, *self.copies.lists.values()]

    def optional(self) -> list[Informer[Any]]:
        """Those of Services and NetworkPolicies, if they are permitted."""
        services: list[Informer[Any]] = [self.reflections.services, self.reflections.slices]
        return (services if self.serves_services else []) + ([self.policies] if self.serves_policies else [])

    @property
    def serves_services(self) -> bool:
        """Whether the parent's Services can be kept in the member."""
        return self.rights.has(Feature.SERVICES)

    @property
    def serves_policies(self) -> bool:
        """Whether the parent's NetworkPolicies can be kept in the member."""
        return self.rights.has(Feature.NETWORK_POLICIES)

    def in_use(self, namespace: str) -> bool:
        """Whether a namespace of the member holds any pods or copies of ours."""
        lists: list[Informer[Any]] = [*(pods.member for pods in self.nodes), *self.copies.lists.values()]
        return any(informer.holds(namespace) for informer in lists)

    def count(self) -> int:
        """How many pods, copies, reflections and policies of ours are in the member."""
        pods = sum(len(pods.member.items) for pods in self.nodes)
        return pods + self.copies.count() + self.reflections.count() + len(self.policies.items)
