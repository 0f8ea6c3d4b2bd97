"""A member that leaves: its node stays, tainted and cordoned, until the last pod is gone, and is deleted once."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.api_server import ApiServer
from tests.unit.pods import pod
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.errors import UnreachableError
from vk_provider.kube.objects import Metadata, Pod
from vk_provider.kube.resources import NODES, PODS
from vk_provider.observable import Observable
from vk_provider.sync.membership.leave import drain, finish
from vk_provider.sync.nodes.labels_and_taints import LabelsAndTaints
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.offer import Offer
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.nodes.wanted import Wanted
from vk_provider.translate.state.health import Assessment, State

pytestmark = pytest.mark.looptime

NAMES = Names(node="west", parent="parent-uid")
LEAVING = {"key": wellknown.LEAVING_TAINT, "effect": "NoExecute"}


class Cache:
    """A list that the test changes."""

    def __init__(self) -> None:
        self.items: dict[str, Any] = {}

    def on_change(self, handler: Any) -> None: ...

    def observe(self, item: Any) -> None:
        self.items[item.metadata.name] = item


class Report:
    """The messages of the MemberCluster's condition."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    async def set_ready(self, ready: bool, reason: str, message: str) -> None:
        self.messages.append(message)


class World:
    """A parent with one member, which is being deleted, and the pods on its node."""

    def __init__(self) -> None:
        deleted = "2026-03-01T10:00:00Z"
        metadata = Metadata(name="west", uid="mc", deletion_timestamp=deleted, finalizers=[wellknown.FINALIZER])
        self.cluster = Observable(MemberCluster(metadata, MemberClusterSpec(SecretRef("s", "n"))))
        self.state = MemberState(State.HEALTHY, self.cluster)
        self.parent, self.report, self.objects = ApiServer(), Report(), 0
        self.last_looks = 0  # at the namespaces of the member
        self.parent.put(MEMBER_CLUSTERS, "west", metadata={"uid": "mc", "finalizers": [wellknown.FINALIZER]})
        self.pods = Cache()
        caches: Any = (self.pods, Cache())
        self.nodes = [PodCaches(NAMES, *caches)]
        virtual: Any = Cache()
        members: Any = Cache()
        self.labels_and_taints = LabelsAndTaints("west", self.cluster, self.parent, virtual, members, self.state)

    async def register(self) -> None:
        """As the loop of the node does."""
        wanted = Wanted({wellknown.CLUSTER_LABEL: "west"}, [], Offer(), NodesReady(), [], [])
        if await self.labels_and_taints.adopt() is None:
            await self.labels_and_taints.create(wanted, {"conditions": [], "addresses": []})
        await self.labels_and_taints.write(wanted)

    def count(self) -> int:
        return self.objects

    def bind(self, name: str, uid: str = "", **metadata: Any) -> Pod:
        found = pod(name=name, uid=uid or f"uid-{name}", **metadata)
        self.pods.items[found.metadata.key] = found
        self.parent.put(PODS, name, "shop", spec={"nodeName": "west"}, metadata={"uid": found.metadata.uid})
        return found

    async def drain(self) -> None:
        caches: Any = self
        report: Any = self.report
        await drain(self.parent, self.cluster.value, caches, self.state, report, self.delete_namespaces)

    async def delete_namespaces(self) -> None:
        assert self.objects == 0, "something of ours is left in them"
        self.last_looks += 1

    def node(self) -> dict[str, Any]:
        found = self.parent.find(NODES, "west")
        assert found is not None
        spec: dict[str, Any] = found["spec"]
        return spec


async def test_the_node_of_a_member_that_leaves_is_tainted_and_cordoned_before_anything_else() -> None:
    world = World()
    world.parent.put(NODES, "west", metadata={"labels": {wellknown.CLUSTER_LABEL: "west"}}, spec={})
    await world.register()
    assert world.node() == {"unschedulable": True, "taints": [LEAVING]}


async def test_a_node_that_another_client_deletes_meanwhile_is_tainted_and_cordoned_from_its_creation() -> None:
    world = World()
    await world.register()
    assert world.node() == {"unschedulable": True, "taints": [LEAVING]}
    assert ("POST", "/api/v1/nodes") in world.parent.requests
    assert ("PATCH", "/api/v1/nodes/west") not in world.parent.requests


async def test_the_node_stays_while_a_pod_takes_long_to_stop() -> None:
    world = World()
    await world.register()
    world.bind("web-1", deletionTimestamp="2026-03-01T10:00:30Z")
    task = asyncio.create_task(world.drain())
    await asyncio.sleep(25)
    assert not task.done()
    assert world.node()["taints"] == [LEAVING]
    assert world.report.messages[-1] == "1 pod still to end (shop/web-1); 0 objects left in the member"
    world.pods.items.clear()
    await asyncio.sleep(2)
    assert task.done()
    assert world.parent.asked("DELETE", NODES) == [], "the loops of the member still run"
    await finish(world.parent, world.cluster.value)
    assert world.parent.asked("DELETE", NODES) == ["/api/v1/nodes/west"]


async def test_a_pod_that_tolerates_the_taint_is_deleted_once() -> None:
    world = World()
    world.bind("agent-1")
    task = asyncio.create_task(world.drain())
    await asyncio.sleep(8)
    assert world.parent.find(PODS, "agent-1", "shop") is None
    world.pods.items.clear()
    world.bind("agent-2")  # the DaemonSet creates another one
    await asyncio.sleep(20)
    assert task.done(), "the node need not be empty of what was never in the member"
    assert world.parent.find(PODS, "agent-2", "shop"), "it would come back as often as it is deleted"
    await finish(world.parent, world.cluster.value)
    assert world.parent.find(PODS, "agent-2", "shop") is None


async def test_the_drain_waits_for_what_is_left_in_the_member() -> None:
    world = World()
    world.objects = 1
    task = asyncio.create_task(world.drain())
    await asyncio.sleep(30)
    assert not task.done()
    assert world.last_looks == 0
    world.objects = 0
    await asyncio.sleep(2)
    assert task.done()
    assert world.last_looks == 1, "no loop deletes the namespaces any more"


async def test_a_member_that_is_lost_meanwhile_ends_the_drain() -> None:
    world = World()
    world.bind("web-1")
    task = asyncio.create_task(world.drain())
    await asyncio.sleep(3)
    world.state.assess(Assessment(State.LOST, UnreachableError("no answer in time")))
    with pytest.raises(UnreachableError, match="no answer in time"):
        await task


async def test_a_parent_that_does_not_answer_at_the_end_is_waited_for() -> None:
    world = World()
    await world.register()
    world.parent.refuses["DELETE"] = UnreachableError("no answer in time")
    task = asyncio.create_task(finish(world.parent, world.cluster.value))
    await asyncio.sleep(30)
    assert not task.done()
    del world.parent.refuses["DELETE"]
    await asyncio.wait_for(task, 11)
    assert world.parent.find(NODES, "west") is None
    member_cluster = world.parent.find(MEMBER_CLUSTERS, "west")
    assert member_cluster is not None
    assert member_cluster["metadata"]["finalizers"] == []
