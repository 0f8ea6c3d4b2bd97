"""The health loop of a member that refuses the provider, in virtual time."""

from __future__ import annotations

import pytest

from tests.unit.test_health_loop import World
from vk_provider.errors import RefusedError
from vk_provider.translate.state.health import State

pytestmark = pytest.mark.looptime


async def test_a_member_whose_credential_has_expired_is_refused_and_never_lost() -> None:
    world = World()
    world.member_answers = lambda at: at < 10
    world.probe_error = RefusedError("expired", answered=True)
    async with world.watched(3600.0):
        assert world.state.health.state is State.REFUSED
        assert [state for _, state in world.changes] == [State.REFUSED]
        assert world.state.health.node_ready[0]
        assert world.freeze.why == ""
        assert world.resyncs == [], "its pods stay as they are"


async def test_a_member_that_refuses_counts_as_one_that_answers_in_a_freeze() -> None:
    world = World()
    world.freeze.members(["west", "east"])
    world.freeze.silent("east", world.start)
    world.member_answers = lambda at: False
    world.probe_error = RefusedError("expired", answered=True)
    async with world.watched(60.0):
        assert world.freeze.why == ""


async def test_a_member_that_refuses_is_lost_once_it_is_fenced() -> None:
    world = World()
    world.member_answers = lambda at: False
    world.probe_error = RefusedError("expired", answered=True)
    async with world.watched(60.0):
        assert world.state.health.reason == "Refused"
    world.fence()
    async with world.watched(5.0):
        assert world.state.health.reason == "Lost"


async def test_a_credential_that_is_renewed_ends_it() -> None:
    world = World()
    world.member_answers = lambda at: at > 60
    world.probe_error = RefusedError("expired", answered=True)
    async with world.watched(80.0):
        assert [state for _, state in world.changes] == [State.REFUSED, State.HEALTHY]
