"""The freeze: several silent members, or a slow parent, are no reason to declare a member lost."""

from __future__ import annotations

import pytest

from vk_provider.translate.state.freeze import Freeze


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
