"""The lists of a member that its dependents are kept by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Object, PartialObject
from vk_provider.kube.resources import NAMESPACES, NETWORK_POLICIES, POD_DISRUPTION_BUDGETS
from vk_provider.sync.dependents.copies import Copies
from vk_provider.sync.dependents.reflections import Reflections
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.dependents.network_policies import NetworkPolicy
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.member_nodes import MemberNode
from vk_provider.translate.state.rights import ALL_RIGHTS, Feature, Rights


@dataclass(frozen=True)
class DependentCaches:
    """Once per member; `nodes` has the pods of each virtual node.

    Without the right to list Services or EndpointSlices, `reflections` stay empty; so do `budgets` and `policies`
    without theirs.
    """

    nodes: Sequence[PodCaches]
    namespaces: Informer[PartialObject]
    copies: Copies
    reflections: Reflections
    budgets: Informer[Object]  # our PodDisruptionBudgets
    policies: Informer[NetworkPolicy]
    member_nodes: Informer[MemberNode]  # the composition of the member runs it
    rights: Rights

    @classmethod
    def of(
        cls,
        member: Client,
        names: Names,
        nodes: Sequence[PodCaches],
        member_nodes: Informer[MemberNode],
        rights: Rights = ALL_RIGHTS,
    ) -> DependentCaches:
        """`names` are those of the objects that all virtual nodes of the member share."""
        namespaces: Informer[PartialObject] = Informer(member, NAMESPACES, PartialObject)
        budgets: Informer[Object] = Informer(member, POD_DISRUPTION_BUDGETS, Object, labels=names.selector)
        policies: Informer[NetworkPolicy] = Informer(member, NETWORK_POLICIES, NetworkPolicy, labels=names.selector)
        copies, reflections = Copies.of(member, names), Reflections.of(member, names)
        return cls(nodes, namespaces, copies, reflections, budgets, policies, member_nodes, rights)

    def own(self) -> list[Informer[Any]]:
        """The lists that only dependents use."""
        return [*self.essential(), *self.optional()]

    def essential(self) -> list[Informer[Any]]:
        """Those that pods cannot do without."""
        return [self.namespaces, *self.copies.lists.values()]

    def optional(self) -> list[Informer[Any]]:
        """Those of Services, PodDisruptionBudgets and NetworkPolicies, if they are permitted."""
        permitted: list[Informer[Any]] = []
        if self.serves_services:
            permitted += [self.reflections.services, self.reflections.slices]
        if self.serves_budgets:
            permitted.append(self.budgets)
        if self.serves_policies:
            permitted.append(self.policies)
        return permitted

    @property
    def serves_services(self) -> bool:
        """Whether the parent's Services can be kept in the member."""
        return self.rights.has(Feature.SERVICES)

    @property
    def serves_budgets(self) -> bool:
        """Whether the parent's PodDisruptionBudgets can be kept in the member."""
        return self.rights.has(Feature.BUDGETS)

    @property
    def serves_policies(self) -> bool:
        """Whether the parent's NetworkPolicies can be kept in the member."""
        return self.rights.has(Feature.NETWORK_POLICIES)

    def in_use(self, namespace: str) -> bool:
        """Whether a namespace of the member holds any pods or copies of ours."""
        lists: list[Informer[Any]] = [*(pods.member for pods in self.nodes), *self.copies.lists.values()]
        return any(informer.holds(namespace) for informer in lists)

    def count(self) -> int:
        """How many pods, copies, reflections, budgets and policies of ours are in the member."""
        pods = sum(len(pods.member.items) for pods in self.nodes)
        policies = len(self.budgets.items) + len(self.policies.items)
        return pods + self.copies.count() + self.reflections.count() + policies
