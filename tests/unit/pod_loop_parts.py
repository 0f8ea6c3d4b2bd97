"""Simple stand-ins for what the loops of a virtual node's pods get from other parts."""

from __future__ import annotations

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NAMESPACES, NETWORK_POLICIES, POD_DISRUPTION_BUDGETS
from vk_provider.sync.dependents.sources import WatchLimit
from vk_provider.sync.parent.services import ParentServices
from vk_provider.translate.dependents.budgets import Budget, Shares
from vk_provider.translate.dependents.network_policies import NetworkPolicy


class NoResources:
    """A virtual node without extended resources."""

    known_resources: frozenset[str] = frozenset()

    def tolerations(self, pod: Pod) -> list[dict[str, str]]:
        return []


class Quiet:
    """The status of the MemberCluster, which these tests do not read."""

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None: ...

    async def remove_annotation(self, name: str) -> None: ...


class ParentLists:
    """The parent, and its lists, which all members share."""

    def __init__(self, client: Client, recorder: Recorder) -> None:
        self.client, self.recorder = client, recorder
        self.namespaces: Informer[PartialObject] = Informer(client, NAMESPACES, PartialObject)
        self.services = ParentServices(client)
        self.policies: Informer[NetworkPolicy] = Informer(client, NETWORK_POLICIES, NetworkPolicy)
        self.budgets: Informer[Budget] = Informer(client, POD_DISRUPTION_BUDGETS, Budget)
        self.budget_shares = Shares()
        self.object_watches = WatchLimit()
