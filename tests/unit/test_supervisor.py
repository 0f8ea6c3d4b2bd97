"""A member from the start of a provider: its Lease and its health before and without a connection. Virtual time."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.memory_cluster import Json, MemoryCluster
from vk_provider import supervisor as module
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.config import Settings
from vk_provider.errors import UnreachableError, api_error
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, Object, PartialObject
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import LEASES, NAMESPACES, NETWORK_POLICIES, NODES, PODS, SECRETS
from vk_provider.member import Member
from vk_provider.parent import Parent
from vk_provider.supervisor import Supervisor
from vk_provider.sync.membership.claims import Claims
from vk_provider.sync.parent.services import ParentServices
from vk_provider.translate.dependents.network_policies import NetworkPolicy
from vk_provider.translate.state.freeze import Freeze

pytestmark = pytest.mark.looptime

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


async def test_a_member_that_is_silent_when_the_provider_starts_is_lost_after_20_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(15.0)
        assert world.node()["status"] == "True"
        assert world.taints == [wellknown.SUSPECT_TAINT]
        assert world.cluster("Reachable")["reason"] == "Suspect"
        await asyncio.sleep(10.0)
        assert (world.node()["status"], world.node()["reason"]) == ("False", "MemberUnreachable")
        assert world.cluster("Reachable")["reason"] == "Lost"
        assert world.cluster()["status"] == "False"


async def test_the_pods_of_a_member_that_is_lost_at_a_start_are_held_before_its_node_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.member.silent = True
    held: list[str] = []
    store = world.parent.store

    def watched(path: str, item: Json) -> Json:
        if wellknown.HELD in item["metadata"].get("annotations", {}):
            held.append(world.node()["status"])
        return store(path, item)

    world.parent.put(
        PODS,
        "web",
        "shop",
        metadata={"annotations": {wellknown.ON_LOST: "Hold"}},
        spec={"nodeName": "west", "containers": [], "nodeSelector": {wellknown.CLUSTER_LABEL: "west"}},
        status={"phase": "Running"},
    )
    monkeypatch.setattr(world.parent, "store", watched)
    async with world.supervised():
        await asyncio.sleep(40.0)
    assert held == ["True"]
    assert world.node()["status"] == "False"


async def test_the_lease_is_renewed_while_the_member_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.may_serve.clear()
    async with world.supervised():
        await asyncio.sleep(1.0)
        assert world.renewals == 1, "at once"
        await asyncio.sleep(300.0)
        assert world.renewals >= 30
        assert world.node()["status"] == "True"
        assert world.taints == []
        world.may_serve.set()
        await asyncio.sleep(5.0)
        renewed = world.renewals
        await asyncio.sleep(60.0)
        assert world.serving
        assert world.renewals == renewed, "the loops of the served member do it from here on"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (api_error(401, "Unauthorized", "Unauthorized"), "Unauthorized"),
        (api_error(403, "Forbidden", "no"), "Forbidden"),
        (UnreachableError("its certificate", reason="CertificateExpired"), "CertificateExpired"),
    ],
)
async def test_a_member_that_refuses_at_a_start_keeps_its_node(
    monkeypatch: pytest.MonkeyPatch, error: Any, reason: str
) -> None:
    world = World(monkeypatch)
    world.member.refusal = error
    async with world.supervised():
        await asyncio.sleep(900.0)
        assert world.renewals >= 85
        assert world.node()["status"] == "True"
        assert world.node(wellknown.MEMBER_REACHABLE)["reason"] == "Refused"
        assert world.taints == [wellknown.SUSPECT_TAINT]
        assert (world.cluster()["status"], world.cluster()["reason"]) == ("False", reason)
        assert world.cluster("Reachable")["reason"] == "Refused"
        world.member.refusal = None
        await asyncio.sleep(30.0)
        assert world.serving


async def test_a_missing_right_that_is_essential_keeps_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.member.denied = {("pods", "create")}
    async with world.supervised():
        await asyncio.sleep(600.0)
        assert world.renewals >= 55
        assert world.node()["status"] == "True"
        assert (world.cluster()["status"], world.cluster()["reason"]) == ("False", "Forbidden")


@pytest.mark.parametrize("content", ["", "bm90IGEga3ViZWNvbmZpZw==", "%"])
async def test_a_member_without_a_usable_kubeconfig_at_a_start_keeps_its_node(
    monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    world = World(monkeypatch)
    if content:
        world.set_kubeconfig(content)
    else:
        world.parent.remove(SECRETS, "west", SYSTEM)
    async with world.supervised():
        await asyncio.sleep(600.0)
        assert world.renewals >= 55
        assert world.node()["status"] == "True"
        assert world.taints == [wellknown.SUSPECT_TAINT]
        assert world.cluster()["reason"] == ("KubeconfigInvalid" if content else "SecretNotFound")
        assert world.cluster("Reachable")["reason"] == "Refused"
        world.set_kubeconfig(kubeconfig(world.member.server))
        await asyncio.sleep(1.0)
        assert world.serving, "a kubeconfig is used as soon as it is there"


async def test_a_node_that_is_deleted_while_its_member_is_lost_is_back_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cloud controller deletes Nodes that are not Ready; then pods that may still run are removed by force."""
    world = World(monkeypatch)
    world.parent.find(NODES, "west")["spec"]["unschedulable"] = True
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(30.0)
        for _ in range(5):
            world.parent.remove(NODES, "west")
            await asyncio.sleep(2.0)
            found = world.parent.find(NODES, "west")
            assert found["metadata"]["labels"] == {wellknown.CLUSTER_LABEL: "west"}
            assert found["spec"]["unschedulable"] is True
            assert world.taints == [wellknown.SUSPECT_TAINT]
            assert (world.node()["status"], world.node()["reason"]) == ("False", "MemberUnreachable")


async def test_a_node_that_is_not_of_this_member_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.parent.put(NODES, "west", metadata={"labels": {}}, spec={}, status={})
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(60.0)
    assert world.renewals == 0
    assert world.taints == []
    assert world.node() == {}


async def test_a_member_that_answers_again_before_it_is_lost_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(12.0)
        world.member.silent = False
        await asyncio.sleep(30.0)
        assert world.serving
        assert world.node()["status"] == "True"


async def test_members_that_are_silent_together_at_a_start_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.freeze.members(["west", "east"])
    world.freeze.silent("east", world.start)
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(600.0)
        assert world.node()["status"] == "True"
        assert world.cluster("Reachable")["reason"] == "Frozen"
        assert world.renewals >= 55
