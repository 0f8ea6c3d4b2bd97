"""The health of a member: properties of every history."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from hypothesis import given
from hypothesis import strategies as st

from vk_provider.api.membercluster import HealthSpec
from vk_provider.errors import UnreachableError
from vk_provider.translate.state.health import Health, State

NO_ANSWER: Final = UnreachableError("no answer in time")


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
