"""Waiting for a condition with a deadline: the only way in which a test may let time pass."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 60.0  # seconds: for what takes one or two on an idle machine, and most on one that is busy
_LOOK: Final = 0.05  # seconds between looks


def eventually(probe: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first answer of `probe` that is true; an AssertionError in it means "not yet" and is told at the end."""
    deadline = time.monotonic() + seconds
    while True:
        answer, problem = _ask(probe)
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}{problem}")
        time.sleep(_LOOK)


async def eventually_here(probe: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """`eventually` for what happens in the test's own event loop."""
    deadline = time.monotonic() + seconds
    while True:
        answer, problem = _ask(probe)
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}{problem}")
        await asyncio.sleep(_LOOK)


def _ask(probe: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return probe(), ""
    except AssertionError as error:
        return None, f"\n{error}"
