"""The measured values of a run, and their verdicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from bench.budget import DECISIVE, ROWS, Bound, Row


class Verdict(StrEnum):
    """What a value means for the run."""

    WITHIN = "within"
    OVER = "over"
    """Over its limit: the run fails."""
    SHOWN = "shown"
    """The row has no limit."""
    UNKNOWN = "unknown"
    """The row has a limit, but the value cannot be measured for this program."""


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the smallest value that at least this share (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True)
class Measurement:
    """One row with its value, measured with `pods` pods. `value` None: it cannot be measured for this program."""

    row: Row
    value: float | None
    pods: int

    @property
    def shown(self) -> float | None:
        """The value as the table shows it."""
        return None if self.value is None else round(self.value, self.row.digits)

    @property
    def limit(self) -> float | None:
        return None if self.row.limit is None else self.row.limit.at(self.pods)

    @property
    def goal(self) -> float | None:
        return None if self.row.goal is None else self.row.goal.at(self.pods)

    @property
    def verdict(self) -> Verdict:
        if self.row.limit is None or self.row.kind not in DECISIVE:
            return Verdict.SHOWN
        kept = self._keeps(self.row.limit)
        return Verdict.UNKNOWN if kept is None else Verdict.WITHIN if kept else Verdict.OVER

    @property
    def reaches_goal(self) -> bool | None:
        """None if there is no goal or no value."""
        return self._keeps(self.row.goal)

    def _keeps(self, bound: Bound | None) -> bool | None:
        value = self.shown
        if value is None or bound is None:
            return None
        return value >= bound.at(self.pods) if self.row.at_least else value <= bound.at(self.pods)


class Measurements:
    """The measurements of a run, added in any order."""

    def __init__(self) -> None:
        self._found: dict[str, Measurement] = {}
        self._rows = {row.key: row for row in ROWS}

    def add(self, key: str, value: float | None, pods: int = 0) -> None:
        self._found[key] = Measurement(self._rows[key], value, pods)

    def value(self, key: str) -> float:
        """Raises KeyError if the row was not measured, and ValueError if it has no value."""
        if (value := self._found[key].value) is None:
            raise ValueError(f"{key} cannot be measured for this program")
        return value

    def ordered(self) -> list[Measurement]:
        """In the order of the table."""
        return [self._found[row.key] for row in ROWS if row.key in self._found]

    @property
    def over(self) -> list[Measurement]:
        """The measurements that make the run fail."""
        return [measurement for measurement in self.ordered() if measurement.verdict is Verdict.OVER]
