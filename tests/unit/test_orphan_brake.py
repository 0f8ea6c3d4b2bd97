"""The brake on deleting orphans: when it counts them, and for how long a count holds."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.orphans import World

pytestmark = pytest.mark.looptime


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
