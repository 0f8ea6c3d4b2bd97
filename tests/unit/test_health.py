"""The health of a member, and the freeze: examples, and properties of every history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vk_provider.api.membercluster import HealthSpec
from vk_provider.errors import UnreachableError
from vk_provider.translate.state.freeze import Freeze
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


@dataclass(frozen=True)
class Moment:
    """One step of a history, `gap` seconds after the one before it. `sign`: a sign of life other than the probe."""

    gap: float
    answered: bool
    sign: bool
    frozen: bool
    in_sync: bool


moments = st.lists(
    st.builds(
        Moment,
        gap=st.floats(0.05, 8.0),
        answered=st.booleans() | st.just(False),
        sign=st.just(False) | st.booleans(),
        frozen=st.just(False) | st.booleans(),
        in_sync=st.booleans(),
    ),
    max_size=80,
)
specs = st.builds(
    HealthSpec,
    probe_seconds=st.floats(0.1, 5.0),
    suspect_after_failures=st.integers(1, 5),
    lost_after_seconds=st.floats(1.0, 40.0),
    return_after_seconds=st.floats(0.0, 40.0),
)


def lived(spec: HealthSpec, history: list[Moment]) -> Iterator[tuple[float, Moment, State, State, Health]]:
    """For each step: the time, the step, the state before and after it, and the health."""
    health, now = Health(spec, 0.0), 0.0
    for moment in history:
        now += moment.gap
        before = health.state
        if moment.sign:
            health.sign_of_life(now)
        if moment.answered:
            health.answered(now)
        else:
            health.failed(now, NO_ANSWER)
        health.judge(now, frozen=moment.frozen)
        if moment.in_sync and health.is_due(now):
            health.returned()
        yield now, moment, before, health.state, health


@given(specs, moments)
def test_a_member_is_never_declared_lost_before_it_has_been_silent_long_enough(
    spec: HealthSpec, history: list[Moment]
) -> None:
    last = 0.0
    for now, moment, before, after, _ in lived(spec, history):
        last = now if moment.answered or moment.sign else last
        if before in (State.HEALTHY, State.SUSPECT) and after is State.LOST:
            assert now - last >= spec.lost_after_seconds
            assert not moment.frozen


@given(specs, moments)
def test_only_the_documented_transitions_happen(spec: HealthSpec, history: list[Moment]) -> None:
    transitions = {
        (State.HEALTHY, State.SUSPECT),
        (State.SUSPECT, State.HEALTHY),
        (State.SUSPECT, State.LOST),
        (State.LOST, State.RETURNING),
        (State.LOST, State.HEALTHY),  # with returnAfterSeconds 0
        (State.RETURNING, State.HEALTHY),
        (State.RETURNING, State.LOST),
    }
    for _, _, before, after, _ in lived(spec, history):
        assert before is after or (before, after) in transitions
        assert (before, after) != (State.LOST, State.HEALTHY) or spec.return_after_seconds == 0


@given(specs, moments)
def test_the_state_does_not_flap(spec: HealthSpec, history: list[Moment]) -> None:
    """Leaving Suspect takes as many answers in a row as entering it takes failures in a row."""
    failures = answers = 0
    since = 0.0
    for now, moment, before, after, _ in lived(spec, history):
        since = since if moment.answered and answers else now
        failures, answers = (0, answers + 1) if moment.answered else (failures + 1, 0)
        if before is State.HEALTHY and after is not State.HEALTHY:
            assert failures >= spec.suspect_after_failures
        if before is State.SUSPECT and after is State.HEALTHY:
            assert answers >= spec.suspect_after_failures
        if before is State.RETURNING and after is State.HEALTHY:
            assert now - since >= spec.return_after_seconds
            assert moment.in_sync


def first(spec: HealthSpec, history: list[Moment], state: State) -> float:
    return next((now for now, _, _, after, _ in lived(spec, history) if after is state), float("inf"))


@given(specs, moments, st.floats(0.0, 30.0))
def test_a_longer_wait_never_declares_a_loss_sooner(spec: HealthSpec, history: list[Moment], more: float) -> None:
    patient = HealthSpec(
        spec.probe_seconds,
        spec.suspect_after_failures,
        spec.lost_after_seconds + more,
        spec.return_after_seconds,
    )
    assert first(patient, history, State.LOST) >= first(spec, history, State.LOST)


@given(specs, moments, st.integers(0, 3))
def test_a_higher_number_of_failures_never_suspects_sooner(spec: HealthSpec, history: list[Moment], more: int) -> None:
    patient = HealthSpec(
        spec.probe_seconds, spec.suspect_after_failures + more, spec.lost_after_seconds, spec.return_after_seconds
    )
    assert first(patient, history, State.SUSPECT) >= first(spec, history, State.SUSPECT)


def frozen_by(members: int, *silent: float) -> bool:
    freeze = Freeze()
    freeze.members(f"m{i}" for i in range(members))
    for number, now in enumerate(silent):
        freeze.silent(f"m{number}", now)
    return bool(freeze.why)


@pytest.mark.parametrize(
    ("members", "silent", "frozen"),
    [
        (1, (0.0,), False),
        (2, (0.0,), False),
        (2, (0.0, 59.0), True),
        (2, (0.0, 61.0), False),
        (3, (0.0, 10.0), True),
        (4, (0.0, 10.0), True),
        (5, (0.0, 10.0), False),
        (5, (0.0, 10.0, 20.0), True),
        (5, (0.0, 70.0, 80.0), False),
        (5, (0.0, 70.0, 80.0, 90.0), True),
    ],
)
def test_a_freeze_needs_two_silent_members_and_half_of_all_within_a_minute(
    members: int, silent: tuple[float, ...], frozen: bool
) -> None:
    assert frozen_by(members, *silent) is frozen


def test_a_freeze_ends_when_enough_members_answer_again_and_not_after_a_time() -> None:
    freeze = Freeze()
    freeze.members(["a", "b", "c"])
    freeze.silent("a", 0.0)
    freeze.silent("b", 1.0)
    freeze.silent("c", 10_000.0)
    assert "3 of 3 members" in freeze.why
    freeze.answers("a")
    assert "b, c" in freeze.why
    freeze.answers("b")
    assert freeze.why == ""


def test_members_that_have_left_do_not_count() -> None:
    freeze = Freeze()
    freeze.members(["a", "b", "c", "d"])
    freeze.silent("a", 0.0)
    freeze.silent("b", 1.0)
    assert freeze.why
    freeze.members(["a", "c", "d"])
    assert freeze.why == ""


def test_a_parent_that_accepts_no_writes_causes_a_freeze_until_it_accepts_one() -> None:
    freeze = Freeze()
    freeze.members(["a"])
    freeze.parent(5.0, "a write takes more than 5 s")
    assert "a write takes more than 5 s" in freeze.why
    assert freeze.wrote_at == 0.0
    freeze.parent(7.0)
    assert (freeze.why, freeze.wrote_at) == ("", 7.0)


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
