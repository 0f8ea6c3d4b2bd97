"""The release of held orphans: by a second look, an administrator, a fence, or an unjoin."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from tests.unit.orphans import World
from vk_provider.api import wellknown
from vk_provider.kube.objects import Condition
from vk_provider.translate.state.health import Assessment, State

pytestmark = pytest.mark.looptime

DAYS = 3 * 86400.0  # seconds


def condition(status: str, reason: str) -> Condition:
    return Condition(wellknown.ORPHANS_HELD, status, reason, "")


async def many(world: World) -> None:
    """15 of 20 pods become orphans in normal operation, and are held."""
    world.lose_parents(0, 15)
    await asyncio.sleep(1)
    assert not world.may_delete(0, 15)


async def test_a_second_look_that_finds_the_same_releases_what_was_held_in_normal_operation() -> None:
    world = World(20)
    await many(world)
    async with world.running(59):
        assert world.brake.looks_again
        assert not world.may_delete(0, 15)
        await asyncio.sleep(2)
        assert world.may_delete(0, 15)
        assert world.reported[:2] == ("False", "Released")


async def test_after_a_restore_of_the_parent_no_time_releases_them() -> None:
    world = World(20)
    async with world.running(1):
        world.restore_parent(0, 15)
        await asyncio.sleep(DAYS)
        assert not world.may_delete(0, 15)
        assert "restored from a backup: vk-provider confirm west" in world.reported[2]
        assert not world.brake.looks_again, "the node need not wait for them"
        world.annotate(**{wellknown.CONFIRM: wellknown.CONFIRM_ORPHANS})
        await asyncio.sleep(1)
        assert world.may_delete(0, 15)
        assert world.reported == ("False", "Released", "15 orphans released: confirmed")
        assert world.report.removed == [wellknown.CONFIRM]


async def test_a_restore_that_is_noticed_while_some_are_held_withdraws_the_second_look() -> None:
    world = World(20)
    await many(world)
    async with world.running(30):
        world.restore_parent(15, 16)
        await asyncio.sleep(DAYS)
        assert not world.may_delete(0, 15)


async def test_what_the_first_look_finds_is_not_released_by_time() -> None:
    world = World(20, orphans=15)
    async with world.running(DAYS):
        assert not world.may_delete(0, 15)
        assert world.reported[:2] == ("True", "TooManyOrphans")
        assert world.state.orphans_held


async def test_a_restart_is_no_new_start_for_what_was_held() -> None:
    world = World(40, orphans=15, condition=condition("True", "TooManyOrphans"))
    async with world.running(DAYS):
        assert not world.may_delete(0, 15), "by now they are less than half of the member's pods"


async def test_a_condition_about_orphans_that_no_longer_exist_is_withdrawn() -> None:
    world = World(20, condition=condition("True", "TooManyOrphans"))
    async with world.running(1):
        assert world.reported == ("False", "Released", "no orphans are held")


async def test_orphans_whose_parent_pods_exist_again_are_no_longer_held() -> None:
    world = World(20, orphans=15)
    async with world.running(1):
        for number in range(15):
            world.find_parent(number)
        await asyncio.sleep(120)
        assert not world.state.orphans_held
        assert world.reported[:2] == ("False", "Released")


async def test_few_that_follow_are_not_kept_by_those_that_are_held() -> None:
    world = World(40, orphans=21)
    async with world.running(1):
        world.lose_parents(30, 31)
        await asyncio.sleep(1)
        assert world.may_delete(30, 31)
        assert not world.may_delete(0, 21)


async def test_what_comes_back_under_a_fence_is_deleted_at_once() -> None:
    world = World(12, orphans=12, state=State.RETURNING, fenced=True)
    await asyncio.sleep(1)
    assert world.may_delete(0, 12)
    assert not world.state.orphans_held


async def test_of_what_comes_back_under_a_fence_pods_that_run_at_most_once_are_the_first() -> None:
    world = World(14, state=State.RETURNING, fenced=True)
    for number in (3, 4):
        world.relabel(number, {"statefulset.kubernetes.io/pod-name": f"db-{number}"})
    world.lose_parents(0, 14)
    await asyncio.sleep(1)
    assert world.delay(0) is not None
    assert world.may_delete(3, 5)
    for number in (3, 4):
        del world.members.items[f"shop/web-{number}"]
    await asyncio.sleep(1)
    assert all(world.delay(number) is None for number in (0, 1, 2, 5))


async def test_a_pod_that_cannot_be_deleted_does_not_keep_the_others_of_a_fenced_member() -> None:
    world = World(14, state=State.RETURNING, fenced=True)
    world.relabel(3, {"statefulset.kubernetes.io/pod-name": "db-3"})
    world.lose_parents(0, 14)
    await asyncio.sleep(1)
    assert world.delay(0) is not None
    await asyncio.sleep(6)
    assert world.delay(0) is None


async def test_a_fence_counts_until_the_member_is_healthy_although_its_annotation_is_removed_before() -> None:
    world = World(12)
    world.state.assess(Assessment(State.LOST))
    async with world.running(1):
        world.annotate(**{wellknown.FENCED: "2026-03-01T10:00:00Z"})
        await asyncio.sleep(1)
        assert world.reported[:2] == ("False", "Fenced"), "for a provider that starts later"
        world.state.assess(Assessment(State.RETURNING))
        world.annotate()
        world.lose_parents(0, 12)
        await asyncio.sleep(1)
        assert world.may_delete(0, 12)
        world.state.assess(Assessment(State.HEALTHY))
        await asyncio.sleep(1)
        assert world.reported[:2] == ("False", "Released")
        assert not world.may_delete(0, 12), "from now on the brake holds as before"


async def test_a_provider_that_starts_while_a_fenced_member_returns_knows_of_the_fence() -> None:
    world = World(12, orphans=12, state=State.RETURNING, condition=condition("False", "Fenced"))
    await asyncio.sleep(1)
    assert world.may_delete(0, 12)


async def test_a_fence_of_the_past_confirms_nothing() -> None:
    world = World(12, orphans=12, condition=condition("False", "Fenced"))
    await asyncio.sleep(1)
    assert not world.may_delete(0, 12)


async def test_a_fence_releases_what_is_held() -> None:
    world = World(12, orphans=12)
    world.state.assess(Assessment(State.LOST))
    async with world.running(1):
        world.annotate(**{wellknown.FENCED: "2026-03-01T10:00:00Z"})
        await asyncio.sleep(1)
        assert not world.state.orphans_held
        assert world.reported == ("False", "Fenced", "12 orphans released: the member was fenced")


async def test_an_annotation_of_a_fence_on_a_member_that_answers_confirms_nothing() -> None:
    world = World(12, orphans=12, fenced=True)
    async with world.running(5):
        assert not world.may_delete(0, 12)


async def test_who_unjoins_a_member_wants_nothing_left_there() -> None:
    world = World(12, orphans=12, leaving=True, condition=condition("True", "TooManyOrphans"))
    await asyncio.sleep(1)
    assert world.may_delete(0, 12)
    assert msgspec.json.encode(world.report.conditions) == b"[]"
