"""The health of a member: examples."""

from __future__ import annotations

from typing import Final

import pytest

from vk_provider.api.membercluster import HealthSpec
from vk_provider.errors import UnreachableError
from vk_provider.translate.state.health import Assessment, Health, State

SPEC: Final = HealthSpec()
NO_ANSWER: Final = UnreachableError("no answer in time")


def probed(health: Health, answers: str, start: float = 0.0, *, frozen: bool = False) -> float:
    """A probe every 2 s: `y` is answered, `n` is not. Returns the time of the last one."""
    now = start
    for answer in answers:
        now += 2.0
        if answer == "y":
            health.answered(now)
        else:
            health.failed(now, NO_ANSWER)
        health.judge(now, frozen=frozen)
    return now


def state_of(health: Health) -> State:
    """The state, for asserts: after a comparison, a type checker assumes that an attribute does not change."""
    return health.state


def test_three_failed_probes_in_a_row_make_a_member_suspect() -> None:
    health = Health(SPEC, 0.0)
    probed(health, "nnynn")
    assert state_of(health) is State.HEALTHY
    probed(health, "n", 10.0)
    assert state_of(health) is State.SUSPECT


def test_three_answers_in_a_row_make_a_suspect_member_healthy() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "nnn" + "yyn" + "yy")
    assert state_of(health) is State.SUSPECT
    probed(health, "y", now)
    assert state_of(health) is State.HEALTHY


def test_a_member_is_not_lost_after_a_cut_of_ten_seconds() -> None:
    health = Health(SPEC, 0.0)
    probed(health, "y" + "n" * 5 + "yyy")
    assert state_of(health) is State.HEALTHY


def test_a_member_is_lost_after_twenty_seconds_of_silence() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "n" * 9)
    assert state_of(health) is State.SUSPECT
    probed(health, "n", now)
    assert state_of(health) is State.LOST


def test_a_member_with_failed_probes_is_not_lost_while_a_watch_receives_bytes() -> None:
    health = Health(SPEC, 0.0)
    now = 0.0
    for _ in range(10):
        health.sign_of_life(now + 1.0)
        now = probed(health, "nnnnn", now)
    assert state_of(health) is State.SUSPECT


def test_a_returning_member_is_healthy_once_it_has_answered_long_enough_and_is_in_sync() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "n" * 10 + "y")
    assert state_of(health) is State.RETURNING
    now = probed(health, "y" * 14, now)
    assert not health.is_due(now)
    now = probed(health, "y", now)
    assert health.is_due(now)
    assert state_of(health) is State.RETURNING
    health.returned()
    assert state_of(health) is State.HEALTHY


def test_a_failure_restarts_the_wait_of_a_returning_member_and_three_failures_make_it_lost_again() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "n" * 10 + "y" * 16 + "n" + "y")
    assert state_of(health) is State.RETURNING
    assert not health.is_due(now)
    probed(health, "nnn", now)
    assert state_of(health) is State.LOST


def test_no_member_is_lost_during_a_freeze_and_afterwards_the_silence_counts_from_zero() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "n" * 100, frozen=True)
    now = probed(health, "n" * 9, now)
    assert state_of(health) is State.SUSPECT
    probed(health, "n", now)
    assert state_of(health) is State.LOST


def test_a_fenced_member_is_lost_even_during_a_freeze() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "nnn", frozen=True)
    health.judge(now, frozen=True, fenced=True)
    assert state_of(health) is State.LOST


def test_a_fenced_member_that_answers_is_not_lost() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "yy")
    health.judge(now, fenced=True)
    assert state_of(health) is State.HEALTHY


def test_no_member_is_lost_until_the_parent_has_accepted_a_write_after_the_failures() -> None:
    health = Health(SPEC, 0.0)
    for now in range(2, 200, 2):
        health.failed(now, NO_ANSWER)
        health.judge(now, proven=False)
    assert state_of(health) is State.SUSPECT
    health.judge(200, proven=True)
    assert state_of(health) is State.LOST


def test_time_in_which_the_provider_did_not_run_does_not_count_as_silence() -> None:
    health = Health(SPEC, 0.0)
    now = probed(health, "yy") + 3600.0
    now = probed(health, "nnn", now)
    assert state_of(health) is State.SUSPECT
    probed(health, "nnnnn", now)
    assert state_of(health) is State.LOST


@pytest.mark.parametrize(("waited", "due"), [(True, True), (False, False)])
def test_a_member_with_a_node_that_is_not_ready_starts_as_returning(waited: bool, due: bool) -> None:
    health = Health(SPEC, 100.0, returning=True, waited=waited)
    health.answered(100.5)
    assert state_of(health) is State.RETURNING
    assert health.is_due(100.5) is due


@pytest.mark.parametrize(
    ("assessment", "node", "cluster", "reachable"),
    [
        (Assessment(), (True, "MemberReady"), (True, "Serving"), ("True", "Healthy")),
        (Assessment(State.SUSPECT, NO_ANSWER), (True, "MemberReady"), (False, "Unreachable"), ("Unknown", "Suspect")),
        (
            Assessment(State.SUSPECT, NO_ANSWER, frozen="why"),
            (True, "MemberReady"),
            (False, "Unreachable"),
            ("Unknown", "Frozen"),
        ),
        (Assessment(State.LOST, NO_ANSWER), (False, "MemberUnreachable"), (False, "Unreachable"), ("False", "Lost")),
        (Assessment(State.RETURNING), (False, "MemberReturning"), (False, "Returning"), ("True", "Returning")),
    ],
)
def test_each_state_has_its_own_conditions(
    assessment: Assessment, node: tuple[bool, str], cluster: tuple[bool, str], reachable: tuple[str, str]
) -> None:
    assert assessment.node_ready[:2] == node
    assert assessment.cluster_ready[:2] == cluster
    assert assessment.reachable[:2] == reachable
    assert assessment.suspended is (assessment.state is not State.HEALTHY)
