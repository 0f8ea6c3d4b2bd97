"""The brake on deleting orphans: when it counts them, and for how long a count holds."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.pods import NAMES, pod
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, Pod
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.orphans import OrphanBrake
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.health import State

pytestmark = pytest.mark.looptime


class Cache:
    """A list of pods that the test changes."""

    def __init__(self) -> None:
        self.items: dict[str, Pod] = {}


class Quiet:
    """The MemberCluster, as far as the brake writes it."""

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None: ...

    async def remove_annotation(self, name: str) -> None: ...


class World:
    """Parent pods and their member pods; those without a parent pod are orphans."""

    def __init__(self, pods: int) -> None:
        self.parents, self.members = Cache(), Cache()
        for number in range(pods):
            name = f"web-{number}"
            self.parents.items[f"shop/{name}"] = pod(name=name, uid=f"p-{number}")
            annotations = {
                wellknown.PARENT_UID: f"p-{number}",
                wellknown.PARENT_NAMESPACE: "shop",
                wellknown.PARENT_NAME: name,
            }
            member = pod(name=name, uid=f"m-{number}", labels=NAMES.labels, annotations=annotations)
            self.members.items[f"shop/{name}"] = member
        cluster = Observable(MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("s", "n"))))
        self.state = MemberState(State.HEALTHY, cluster)
        caches: Any = (self.parents, self.members)
        client: Client = None  # type: ignore[assignment]  # counting asks no server
        self.brake = OrphanBrake(cluster, client, PodCaches(NAMES, *caches), self.state, Quiet())

    def lose_parents(self, first: int, last: int) -> None:
        for number in range(first, last):
            del self.parents.items[f"shop/web-{number}"]

    def delay(self, number: int) -> float | None:
        return self.brake.delay(self.members.items[f"shop/web-{number}"])


async def test_few_orphans_are_deleted_at_once() -> None:
    world = World(20)
    world.lose_parents(0, 5)
    await asyncio.sleep(1)
    assert [world.delay(number) for number in range(5)] == [None] * 5
    assert not world.state.orphans_held


async def test_an_orphan_that_was_not_in_the_last_count_waits_for_the_next_one() -> None:
    world = World(20)
    world.lose_parents(0, 5)
    await asyncio.sleep(1)
    assert world.delay(0) is None
    world.lose_parents(5, 6)
    delay = world.delay(5)
    assert delay is not None
    await asyncio.sleep(delay)
    assert world.delay(5) is None


async def test_many_orphans_are_held_and_the_state_says_so() -> None:
    world = World(20)
    world.lose_parents(0, 15)
    await asyncio.sleep(1)
    assert all(world.delay(number) is not None for number in range(15))
    assert world.state.orphans_held


async def test_few_that_become_many_before_they_are_deleted_are_held_too() -> None:
    world = World(100)
    world.lose_parents(0, 50)
    await asyncio.sleep(1)
    assert world.delay(0) is None, "half of the pods are not too many"
    world.lose_parents(50, 100)  # the parent is restored from an empty backup
    await asyncio.sleep(1)
    assert all(world.delay(number) is not None for number in range(100))
