"""Pauses between attempts: exponential with full jitter, and the log level that each failure deserves.

(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)
"""

from __future__ import annotations

import logging
import random

_DOUBLINGS = 30  # more would overflow nothing, and change nothing: every cap is reached before


def full_jitter(attempt: int, *, base: float, cap: float, rng: random.Random) -> float:
    """Seconds to wait before attempt number `attempt` (from 1): uniform in (0, min(cap, base * 2^(attempt-1)))."""
    return rng.uniform(0, min(cap, base * 2.0 ** min(attempt - 1, _DOUBLINGS)))


class Backoff:
    """Counts the failures of one thing in a row.

    The failure with number `warn_at` is worth a warning, and every `warn_every`th; the others are for debugging.
    """

    __slots__ = ("_base", "_cap", "_rng", "_warn_at", "_warn_every", "failures")

    def __init__(
        self, *, base: float, cap: float, warn_at: int = 1, warn_every: int = 30, rng: random.Random | None = None
    ) -> None:
        """`base` and `cap` are in seconds, see `full_jitter`."""
        self._base, self._cap, self._rng = base, cap, rng or random.Random()
        self._warn_at, self._warn_every = warn_at, warn_every
        self.failures = 0

    def failed(self) -> float:
        """Counts one more failure. Returns the seconds to wait before the next attempt."""
        self.failures += 1
        return full_jitter(self.failures, base=self._base, cap=self._cap, rng=self._rng)

    def succeeded(self) -> None:
        """The next failure is the first one again."""
        self.failures = 0

    @property
    def level(self) -> int:
        """The level at which the last failure is to be logged."""
        worth_a_warning = self.failures == self._warn_at or self.failures % self._warn_every == 0
        return logging.WARNING if worth_a_warning else logging.DEBUG
