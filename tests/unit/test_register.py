"""The registration of a virtual node is retried while the parent does not answer, and the member is not stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.memory_cluster import MemoryCluster
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.errors import ConfigError, ForbiddenError, VkError, api_error
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS
from vk_provider.observable import Observable
from vk_provider.sync.nodes.hold import HoldLoop
from vk_provider.sync.nodes.status import NodeStatusLoop
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.state.health import State

pytestmark = pytest.mark.looptime


class Registered:
    """The loop of a virtual node, and the list of virtual nodes that it reads."""

    def __init__(self, parent: MemoryCluster) -> None:
        client = parent.client()
        cluster = Observable(MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("s", "n"))))
        state = MemberState(State.HEALTHY, cluster)
        lists: Any = (Informer(client, PODS, Pod), Informer(client, PODS, Pod))
        pods = PodCaches(Names("west", "parent-uid"), *lists)
        self.virtual_nodes: Informer[Node] = Informer(client, NODES, Node)
        nodes: Informer[MemberNode] = Informer(client, NODES, Node, keep=member_node)
        recorder, ready = Recorder(client), Observable(NodesReady())
        hold = HoldLoop("west", client, pods.parent, state, ready, recorder)
        self.loop = NodeStatusLoop(
            "192.0.2.2",
            Observable("v1.37.2"),
            cluster,
            client,
            self.virtual_nodes,
            nodes,
            [],
            pods,
            state=state,
            nodes_ready=ready,
            hold=hold,
            recorder=recorder,
        )

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.virtual_nodes.run())
            await self.virtual_nodes.synced.wait()
            group.create_task(self.loop.run())


@pytest.mark.parametrize(
    "problem", [None, api_error(500, "InternalError", "etcd"), api_error(429, "TooManyRequests", "later")]
)
async def test_a_parent_that_does_not_answer_is_waited_for(problem: VkError | None) -> None:
    parent = MemoryCluster("parent", "parent-uid")
    parent.silent, parent.refusal = problem is None, problem
    west = Registered(parent)
    registered = asyncio.create_task(west.loop.register())
    await asyncio.sleep(300.0)
    assert not registered.done()
    parent.silent, parent.refusal = False, None
    async with asyncio.timeout(60.0):
        await registered
    running = asyncio.create_task(west.run())
    await asyncio.sleep(10.0)
    running.cancel()
    assert parent.find(NODES, "west")["metadata"]["labels"][wellknown.CLUSTER_LABEL] == "west"


async def test_a_name_that_is_taken_is_an_error() -> None:
    parent = MemoryCluster("parent", "parent-uid")
    parent.put(NODES, "west", spec={}, status={})
    with pytest.raises(ConfigError, match="does not stand for member west"):
        await Registered(parent).loop.register()


async def test_a_parent_that_does_not_accept_the_node_is_an_error() -> None:
    parent = MemoryCluster("parent", "parent-uid")
    parent.refusal = api_error(403, "Forbidden", "no")
    with pytest.raises(ForbiddenError):
        await Registered(parent).loop.register()


async def test_a_node_that_is_deleted_while_the_parent_does_not_answer_ends_nothing() -> None:
    parent = MemoryCluster("parent", "parent-uid")
    west = Registered(parent)
    await west.loop.register()
    running = asyncio.create_task(west.run())
    await asyncio.sleep(30.0)
    before = parent.find(NODES, "west")["metadata"]["uid"]
    parent.remove(NODES, "west")
    request = parent.requests.append

    def fail_after_the_patch(asked: tuple[str, str]) -> None:
        request(asked)
        parent.silent = parent.silent or asked[0] == "POST"

    parent.requests = Asked(fail_after_the_patch)  # type: ignore[assignment]  # only append is used
    await asyncio.sleep(120.0)
    assert parent.silent, "the registration was under way"
    assert not running.done()
    parent.requests, parent.silent = [], False
    await asyncio.sleep(60.0)
    assert parent.find(NODES, "west")["metadata"]["uid"] != before
    running.cancel()


class Asked:
    """Records the requests, and calls a function for each."""

    def __init__(self, append: Any) -> None:
        self.append = append
