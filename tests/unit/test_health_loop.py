"""The health loop of a member, in virtual time: its probes, its conclusions, and the times of its reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from vk_provider.api import wellknown
from vk_provider.api.membercluster import HealthSpec, MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.errors import ConfigError, UnreachableError
from vk_provider.kube.objects import Metadata
from vk_provider.observable import Observable
from vk_provider.sync.state.health import HealthLoop
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.freeze import Freeze
from vk_provider.translate.state.health import Health, State

pytestmark = pytest.mark.looptime


def now() -> float:
    return asyncio.get_running_loop().time()


class World:
    """A member, a parent, and everything that a HealthLoop needs from them. Times are seconds since the start."""

    def __init__(self) -> None:
        self.member_answers: Callable[[float], bool] = lambda at: True
        self.parent_answers: Callable[[float], bool] = lambda at: True
        self.probe_error: Exception = UnreachableError("no answer in time")
        self.last_sign_of_life = 0.0
        self.pending = ""
        self.watches_ended: list[float] = []
        self.resyncs: list[float] = []
        self.changes: list[tuple[float, State]] = []
        self.freeze = Freeze()
        self.freeze.members(["west"])
        self.start = now()
        self.cluster = Observable(MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("s", "n"))))
        health = Health(HealthSpec(), self.start)
        self.state = MemberState(health.state, self.cluster)
        self.state.on_change(lambda: self.changes.append((self.at, self.state.health.state)))
        self.state.on_resync(lambda: self.resyncs.append(self.at))
        timestamp = lambda: f"{self.at:.0f}"  # noqa: E731
        self.loop = HealthLoop(self.cluster, self, health, self.state, self.freeze, [self], self.probe, timestamp)

    @property
    def at(self) -> float:
        return now() - self.start

    def fence(self) -> None:
        annotations = {wellknown.FENCED: "2026-03-01T10:00:00Z"}
        self.cluster.set(
            msgspec.structs.replace(self.cluster.value, metadata=Metadata("west", annotations=annotations))
        )

    async def probe(self, *, deadline: float) -> None:
        if not self.member_answers(self.at):
            await asyncio.sleep(deadline)
            raise self.probe_error

    def end_watches(self) -> None:
        self.watches_ended.append(self.at)

    async def outdated(self) -> str:
        return self.pending

    def out_of_sync(self) -> str:
        return ""

    def renew_lease(self) -> None:
        self.freeze.parent(now(), "" if self.parent_answers(self.at) else "no answer")

    def when(self, state: State) -> float:
        """The time when the state was first reported."""
        return next(at for at, reported in self.changes if reported is state)

    @asynccontextmanager
    async def watched(self, seconds: float) -> AsyncIterator[None]:
        """Runs the loop for this time, and then the block."""
        task = asyncio.create_task(self.loop.run())
        await asyncio.wait([task], timeout=seconds)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])


async def test_a_member_that_answers_is_probed_every_two_seconds_and_nothing_is_reported() -> None:
    world = World()
    probed: list[float] = []

    def answers(at: float) -> bool:
        probed.append(at)
        return True

    world.member_answers = answers
    async with world.watched(9.0):
        assert [round(at) for at in probed] == [0, 2, 4, 6, 8]
        assert world.changes == []


async def test_a_cut_member_is_suspect_after_6_s_and_lost_after_20_s() -> None:
    world = World()
    world.member_answers = lambda at: at < 1
    async with world.watched(30.0):
        assert 6.0 <= world.when(State.SUSPECT) <= 8.0
        assert 20.0 <= world.when(State.LOST) <= 22.0


async def test_a_member_is_not_lost_while_a_watch_receives_bytes() -> None:
    world = World()
    world.member_answers = lambda at: False

    async def lease_renewals() -> None:
        while True:
            world.last_sign_of_life = now()
            await asyncio.sleep(10.0)

    leases = asyncio.create_task(lease_renewals())
    async with world.watched(300.0):
        assert world.state.health.state is State.SUSPECT
    leases.cancel()


async def test_a_provider_that_cannot_write_to_the_parent_declares_no_member_lost() -> None:
    world = World()
    world.member_answers = lambda at: at < 1
    world.parent_answers = lambda at: at < 1 or at > 100
    async with world.watched(99.0):
        assert (world.state.health.state, world.state.health.reason) == (State.SUSPECT, "Frozen")
        assert "parent" in world.state.health.reachable[2]
    async with world.watched(40.0):
        assert world.when(State.LOST) >= 118.0, "silence counts from the time when the parent answers again"


async def test_a_member_that_is_silent_together_with_others_is_not_lost_until_it_is_fenced() -> None:
    world = World()
    world.freeze.members(["west", "east"])
    world.freeze.silent("east", world.start)
    world.member_answers = lambda at: False
    async with world.watched(200.0):
        assert world.state.health.reason == "Frozen"
    world.fence()
    async with world.watched(5.0):
        assert world.state.health.reason == "Lost"


async def test_a_returning_member_gets_new_watches_and_is_healthy_once_it_is_in_sync() -> None:
    world = World()
    world.member_answers = lambda at: at < 1 or at > 40
    world.pending = "pod shop/web-1 has ended"
    async with world.watched(100.0):
        (again,) = world.watches_ended
        assert 40.0 <= again <= 44.0
        assert not world.state.lists_current
        assert world.state.unknown_reason
        assert world.changes[-1][1] == "Returning", "long enough, but not in sync"
        assert "has ended" in world.state.health.node_ready[2]
    world.pending = ""
    async with world.watched(3.0):
        assert world.changes[-1][1] == "Healthy"
        assert world.state.lists_current
        assert world.resyncs[-1] > again, "all keys are added again once the lists are current"


async def test_a_returning_member_that_is_in_sync_still_waits_long_enough() -> None:
    world = World()
    world.member_answers = lambda at: at < 1 or at > 40
    async with world.watched(100.0):
        returned, healthy = world.when(State.RETURNING), world.when(State.HEALTHY)
        assert 30.0 <= healthy - returned <= 32.0


async def test_the_loop_ends_if_another_cluster_answers() -> None:
    world = World()
    world.member_answers = lambda at: False
    world.probe_error = ConfigError("another cluster", reason="ClusterUidChanged")
    with pytest.raises(ConfigError, match="another cluster"):
        await world.loop.run()
