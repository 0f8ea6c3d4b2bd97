"""Pauses between attempts, and the log level of failures."""

from __future__ import annotations

import logging
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.jitter import LongestJitter
from vk_provider.kube.backoff import Backoff, full_jitter


@given(st.integers(1, 2000), st.randoms(use_true_random=False))
def test_jitter_is_full_and_within_bounds(attempt: int, rng: random.Random) -> None:
    assert 0 <= full_jitter(attempt, base=0.1, cap=30, rng=rng) <= min(30, 0.1 * 2.0 ** min(attempt - 1, 30))


def test_jitter_spreads_over_the_whole_range() -> None:
    rng = random.Random(7)
    waits = [full_jitter(5, base=1, cap=30, rng=rng) for _ in range(200)]
    assert min(waits) < 1.6 and max(waits) > 14.4


def test_pauses_double_from_the_base_up_to_the_cap() -> None:
    backoff = Backoff(base=0.5, cap=3.0, rng=LongestJitter())
    assert [backoff.failed() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_after_a_success_the_next_failure_counts_as_the_first() -> None:
    backoff = Backoff(base=0.5, cap=3.0, rng=LongestJitter())
    backoff.failed()
    backoff.failed()
    backoff.succeeded()
    assert backoff.failures == 0
    assert backoff.failed() == 0.5
    assert backoff.failures == 1


@pytest.mark.parametrize(("warn_at", "expected"), [(1, [1, 30, 60]), (3, [3, 30, 60])])
def test_the_failure_number_warn_at_and_every_thirtieth_are_warnings(warn_at: int, expected: list[int]) -> None:
    backoff = Backoff(base=0.1, cap=1.0, warn_at=warn_at)
    warned = []
    for number in range(1, 61):
        backoff.failed()
        assert backoff.level in (logging.DEBUG, logging.WARNING)
        if backoff.level == logging.WARNING:
            warned.append(number)
    assert warned == expected
