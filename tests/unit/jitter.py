"""Jitter without randomness, so that tests know the length of every pause."""

from __future__ import annotations

import random


class LongestJitter(random.Random):
    """Draws the upper bound each time: every pause has its maximum length."""

    def uniform(self, a: float, b: float) -> float:
        return b
