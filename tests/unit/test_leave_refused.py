"""A member that refuses the provider can leave, as one that cannot be reached."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.memory_cluster import MemoryCluster
from tests.unit.supervised import World
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.errors import RefusedError, api_error
from vk_provider.kube.objects import Metadata
from vk_provider.kube.resources import NODES, PODS
from vk_provider.observable import Observable
from vk_provider.sync.membership.leave import drain
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.health import Assessment, State

pytestmark = pytest.mark.looptime


def leave(world: World) -> None:
    """Deletes the MemberCluster; its finalizer keeps it."""
    found = world.parent.find(MEMBER_CLUSTERS, "west")
    metadata = found["metadata"] | {"deletionTimestamp": "2026-03-01T10:00:00Z"}
    world.parent.store(MEMBER_CLUSTERS.path("west"), {**found, "metadata": metadata})


async def test_a_member_that_refuses_can_leave_after_as_long_as_one_that_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.member.refusal = api_error(401, "Unauthorized", "Unauthorized")
    leave(world)
    async with world.supervised():
        await asyncio.sleep(25.0)
        assert world.parent.find(NODES, "west"), "its credential may be renewed"
        await asyncio.sleep(30.0)
        assert not world.parent.find(NODES, "west")
        assert world.parent.find(MEMBER_CLUSTERS, "west")["metadata"]["finalizers"] == []


async def test_a_member_that_refuses_and_has_a_pod_that_must_run_once_needs_a_fence_to_leave(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.member.refusal = api_error(401, "Unauthorized", "Unauthorized")
    annotations = {wellknown.AT_MOST_ONCE: "true"}
    world.parent.put(PODS, "db-0", "shop", metadata={"annotations": annotations}, spec={"nodeName": "west"}, status={})
    leave(world)
    async with world.supervised():
        await asyncio.sleep(120.0)
        assert world.cluster()["reason"] == wellknown.FENCE_NEEDED
        assert world.parent.find(PODS, "db-0", "shop")
        assert world.node()["status"] == "True"


async def test_a_member_that_begins_to_refuse_while_it_leaves_is_no_longer_waited_for() -> None:
    cluster = Observable(MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("s", "n"))))
    state = MemberState(State.HEALTHY, cluster)
    state.assess(Assessment(State.REFUSED, RefusedError("expired")))
    caches: Any = Left()
    nothing: Any = None
    with pytest.raises(RefusedError, match="expired"):
        await drain(MemoryCluster("parent", "parent-uid").client(), cluster.value, caches, state, nothing, nothing)


class Left:
    """Caches of a member in which one object is left."""

    nodes: tuple[Any, ...] = ()

    def count(self) -> int:
        return 1
