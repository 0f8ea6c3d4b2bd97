"""A parent and a member in memory, and a supervisor between them; the loops of a served member are a stand-in."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.unit.memory_cluster import Json, MemoryCluster
from vk_provider import supervisor as module
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.config import Settings
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, Object, PartialObject
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import LEASES, NAMESPACES, NETWORK_POLICIES, NODES, POD_DISRUPTION_BUDGETS, SECRETS
from vk_provider.member import Member
from vk_provider.parent import Parent
from vk_provider.supervisor import Supervisor
from vk_provider.sync.membership.claims import Claims
from vk_provider.sync.parent.services import ParentServices
from vk_provider.translate.dependents.budgets import Budget
from vk_provider.translate.dependents.network_policies import NetworkPolicy
from vk_provider.translate.state.freeze import Freeze

SYSTEM = wellknown.SYSTEM_NAMESPACE


def kubeconfig(server: str, token: str = "one") -> str:
    document = {
        "clusters": [{"name": "it", "cluster": {"server": server}}],
        "users": [{"name": "it", "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }
    return base64.b64encode(json.dumps(document).encode()).decode()


class Serving:
    """Stands in for the loops of a member that is connected and listed."""

    def __init__(self, world: World, member: Member) -> None:
        self.world, self.member = world, member

    async def run(self) -> None:
        await self.world.may_serve.wait()
        await self.member.unserved.hand_over()
        self.world.serving.append(self.member)
        await asyncio.Event().wait()


class World:
    """A parent with the MemberCluster west, which was served before, and the member."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, ready: str = "True") -> None:
        self.start = asyncio.get_running_loop().time()
        self.parent, self.member = MemoryCluster("parent", "parent-uid"), MemoryCluster("west", "west-uid")
        self.may_serve, self.serving = asyncio.Event(), list[Member]()
        self.may_serve.set()
        self.parent.put(
            MEMBER_CLUSTERS,
            "west",
            spec={"kubeconfigSecretRef": {"name": "west", "namespace": SYSTEM}},
            status={"clusterUid": "west-uid", "nodeName": "west"},
            metadata={"generation": 1, "finalizers": [wellknown.FINALIZER]},
        )
        self.set_kubeconfig(kubeconfig(self.member.server))
        conditions = [{"type": "Ready", "status": ready, "lastTransitionTime": "2026-03-01T09:00:00Z"}]
        labels = {wellknown.CLUSTER_LABEL: "west"}
        self.parent.put(NODES, "west", metadata={"labels": labels}, spec={}, status={"conditions": conditions})
        self.parent.put(LEASES, "west", "kube-node-lease", spec={})
        self.freeze = Freeze()
        self.freeze.members(["west"])
        clusters = {cluster.server: cluster for cluster in (self.parent, self.member)}
        monkeypatch.setattr(
            "vk_provider.sync.membership.connection.Client",
            lambda credentials: clusters[credentials.server].client(credentials),
        )
        monkeypatch.setattr(module, "Member", lambda *parts: Serving(self, Member(*parts)))

    def set_kubeconfig(self, content: str) -> None:
        self.parent.put(SECRETS, "west", SYSTEM, data={"kubeconfig": content})

    @property
    def at(self) -> float:
        return asyncio.get_running_loop().time() - self.start

    @property
    def renewals(self) -> int:
        return sum(request == ("PATCH", LEASES.path("west", "kube-node-lease")) for request in self.parent.requests)

    @property
    def taints(self) -> list[str]:
        return [taint["key"] for taint in self.parent.find(NODES, "west")["spec"].get("taints", [])]

    def node(self, type: str = "Ready") -> Json:
        return condition(self.parent.find(NODES, "west"), type)

    def cluster(self, type: str = "Ready") -> Json:
        return condition(self.parent.find(MEMBER_CLUSTERS, "west"), type)

    @asynccontextmanager
    async def supervised(self) -> AsyncIterator[None]:
        """Runs a supervisor while the block runs."""
        client: Client = self.parent.client()
        namespaces: Informer[PartialObject] = Informer(client, NAMESPACES, PartialObject)
        virtual_nodes: Informer[Node] = Informer(client, NODES, Node)
        listing = asyncio.create_task(virtual_nodes.run())
        await virtual_nodes.synced.wait()
        parent = Parent(
            client=client,
            uid="parent-uid",
            host="192.0.2.1",
            port="6443",
            kubelet_address="192.0.2.2",
            namespaces=namespaces,
            virtual_nodes=virtual_nodes,
            services=ParentServices(client),
            policies=Informer(client, NETWORK_POLICIES, NetworkPolicy),
            budgets=Informer(client, POD_DISRUPTION_BUDGETS, Budget),
            recorder=Recorder(client),
            freeze=self.freeze,
        )
        raw = await client.get(MEMBER_CLUSTERS, "west", type=Object)
        supervisor = Supervisor(raw, parent, Settings(), Claims("parent-uid"))
        task = asyncio.create_task(supervisor.run())
        try:
            yield
        finally:
            supervisor.stop()
            for each in (task, listing):
                each.cancel()
            await asyncio.wait([task, listing])


def condition(item: Json, type: str) -> Json:
    conditions = item.get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == type), {})
