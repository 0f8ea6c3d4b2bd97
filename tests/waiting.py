"""Waits for a condition with a deadline. Tests do not wait in any other way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

PATIENCE: Final = 60.0  # seconds: one or two are enough on an idle machine, most are needed on a busy one
_LOOK: Final = 0.05  # seconds between two attempts


def eventually(probe: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """The first true result of `probe`. An AssertionError in it means "not yet" and is part of the final error."""
    deadline = time.monotonic() + seconds
    while True:
        answer, problem = _ask(probe)
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"timeout after {seconds:.0f} s: {what}{problem}")
        time.sleep(_LOOK)


async def eventually_here(probe: Callable[[], T], what: str, seconds: float = PATIENCE) -> T:
    """`eventually` for conditions in the test's own event loop."""
    deadline = time.monotonic() + seconds
    while True:
        answer, problem = _ask(probe)
        if answer:
            return answer
        if time.monotonic() > deadline:
            raise AssertionError(f"timeout after {seconds:.0f} s: {what}{problem}")
        await asyncio.sleep(_LOOK)


def _ask(probe: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return probe(), ""
    except AssertionError as error:
        return None, f"\n{error}"
