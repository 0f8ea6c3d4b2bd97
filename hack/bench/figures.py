"""What was found, row by row, and whether it is within its budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.budget import DECISIVE, ROWS, Row


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share (0 to 1) of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Figure:
    """One row with what was measured, with so many pods. `value` None: this cannot be known of this program."""

    row: Row
    value: float | None
    pods: int

    @property
    def shown(self) -> float | None:
        return None if self.value is None else round(self.value, self.row.digits)

    @property
    def budget(self) -> float | None:
        return self.row.budget(self.pods)

    @property
    def ratio(self) -> float | None:
        """How much of the budget is used: over 1 is over budget. None where that is no number."""
        value, budget = (self.budget, self.value) if self.row.at_least else (self.value, self.budget)
        if value is None or budget is None:
            return None
        if budget == 0:
            return 0.0 if value == 0 else None
        return value / budget

    @property
    def over(self) -> bool:
        value, budget = self.shown, self.budget
        if value is None or budget is None:
            return False
        return value < budget if self.row.at_least else value > budget

    @property
    def fails(self) -> bool:
        """Over budget in something that no other user of the machine can change."""
        return self.over and self.row.kind in DECISIVE


class Figures:
    """The figures of a run, in whatever order they are found."""

    def __init__(self) -> None:
        self._found: dict[str, Figure] = {}
        self._rows = {row.key: row for row in ROWS}

    def add(self, key: str, value: float | None, pods: int = 0) -> None:
        self._found[key] = Figure(self._rows[key], value, pods)

    def ordered(self) -> list[Figure]:
        """As they stand in the table."""
        return [self._found[row.key] for row in ROWS if row.key in self._found]

    @property
    def failing(self) -> list[Figure]:
        return [figure for figure in self.ordered() if figure.fails]
