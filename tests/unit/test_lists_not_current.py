"""Lists that are not current although the member answers are reported, and the state of pods is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping

import pytest

from tests.unit.memory_cluster import MemoryClient, MemoryCluster
from tests.unit.test_health_loop import World, now
from vk_provider.errors import UnreachableError, api_error
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS
from vk_provider.sync.state.health import HealthLoop
from vk_provider.sync.state.lists import Lists
from vk_provider.translate.state.health import State

pytestmark = pytest.mark.looptime


class List:
    """A list whose watch fails every 10 s with this error; None: it works."""

    path = "/api/v1/pods"

    def __init__(self) -> None:
        self.error: Exception | None = None

    @property
    def failure(self) -> tuple[float, Exception] | None:
        return (now() - now() % 10.0, self.error) if self.error is not None else None


def world_of(lists: List) -> World:
    world = World()
    health = world.loop._health
    timestamp = lambda: f"{world.at:.0f}"  # noqa: E731
    world.loop = HealthLoop(
        world.cluster, world, health, world.state, world.freeze, [world], world.probe, timestamp, [lists]
    )
    return world


async def test_a_list_that_fails_for_ever_is_reported_and_the_pods_are_unknown() -> None:
    lists = List()
    world = world_of(lists)
    async with world.watched(20.0):
        assert world.state.unknown_reason == ""
    lists.error = api_error(500, "InternalError", "cannot decode")
    async with world.watched(60.0):
        assert world.state.health.state is State.HEALTHY
        assert world.state.health.reason == "ListsNotCurrent"
        assert world.state.health.cluster_ready[:2] == (False, "ListsNotCurrent")
        assert world.state.health.node_ready[0], "nothing is evicted"
        assert world.state.health.suspended
        assert "/api/v1/pods" in world.state.unknown_reason
        assert "cannot decode" in world.state.unknown_reason
        assert len(world.resyncs) == 1
    lists.error = None
    async with world.watched(10.0):
        assert world.state.health.reason == "Healthy"
        assert world.state.unknown_reason == ""
        assert len(world.resyncs) == 2


async def test_a_list_that_fails_for_a_moment_is_not_reported() -> None:
    lists = List()
    world = world_of(lists)
    lists.error = UnreachableError("refused")
    async with world.watched(25.0):
        lists.error = None
    async with world.watched(100.0):
        assert world.changes == []


@pytest.mark.parametrize("status", [401, 403])
async def test_a_list_that_is_no_longer_permitted_means_that_the_member_refuses(status: int) -> None:
    lists = List()
    world = world_of(lists)
    lists.error = api_error(status, "Forbidden", "no")
    async with world.watched(120.0):
        assert world.state.health.state is State.REFUSED
        assert "/api/v1/pods" in world.state.health.cluster_ready[2]
        assert world.state.unknown_reason == "", "the pods may live"
    lists.error = None
    async with world.watched(20.0):
        assert world.changes[-1][1] is State.HEALTHY


async def test_lists_of_a_member_that_does_not_answer_are_explained_by_its_health() -> None:
    lists = List()
    world = world_of(lists)
    world.freeze.members(["west", "east"])
    world.freeze.silent("east", world.start)
    lists.error = UnreachableError("no answer")
    world.member_answers = lambda at: at > 300
    async with world.watched(299.0):
        assert world.state.health.reason == "Frozen"
        assert world.state.unknown_reason == ""
    async with world.watched(20.0):
        assert world.state.unknown_reason == "", "its watches have had no time to come back"


class Late:
    """A list whose last attempt began while the member did not answer, and failed when it answers again."""

    path = "/api/v1/pods"

    def __init__(self) -> None:
        self.failure: tuple[float, Exception] | None = None


async def test_an_attempt_that_began_while_the_member_was_silent_says_nothing_about_the_list() -> None:
    late = Late()
    lists = Lists([late])
    for failed_at, looks in ((100.0, (130.0, 132.0)), (132.3, (134.0, 170.0, 190.0))):  # a connect takes 30 s
        late.failure = (failed_at, UnreachableError("no answer in time"))
        for at in looks:
            assert lists.not_current(at) is None
    late.failure = (191.0, UnreachableError("no answer in time"))
    assert lists.not_current(192.0) is not None, "an attempt that began while it answers"


class Undecodable(MemoryClient):
    """Sends one object that does not decode, again and again."""

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        async for line in super().stream(path, query, inactivity=inactivity):
            yield line
            if b"BOOKMARK" in line:
                yield b'{"type": "MODIFIED", "object": {"metadata": 1}}'


async def test_an_informer_shows_that_it_fails_and_that_something_has_arrived_since() -> None:
    cluster = MemoryCluster("west", "west-uid")
    informer: Informer[Pod] = Informer(cluster.client(), PODS, Pod)
    cluster.refusal = api_error(403, "Forbidden", "no")
    task = asyncio.create_task(informer.run())
    await asyncio.sleep(40.0)
    assert informer.failure is not None
    at, error = informer.failure
    assert now() - at <= 15.0
    assert "no" in str(error)
    cluster.refusal = None
    await asyncio.sleep(20.0)
    assert informer.synced.is_set()
    assert informer.failure is None
    task.cancel()


async def test_an_object_that_does_not_decode_is_a_failure_that_stays() -> None:
    client = Undecodable(MemoryCluster("west", "west-uid"))
    informer: Informer[Pod] = Informer(client, PODS, Pod)
    task = asyncio.create_task(informer.run())
    await asyncio.sleep(300.0)
    assert informer.synced.is_set()
    assert informer.failure is not None
    assert "metadata" in str(informer.failure[1])
    task.cancel()
