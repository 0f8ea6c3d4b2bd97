"""Counters that are sums over the nodes of a member."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class Totals(Generic[KeyT]):
    """Counters of a virtual node: sums over member nodes that never go backwards, nor jump.

    The first sum is that of all nodes that answered. From then on it grows by what each node grew between two answers
    of its own in a row. A node that comes, goes, restarts, is skipped or comes back does not move it: else one missing
    answer would show as a restart, and the next one as the CPU of a node's whole life within one interval.
    """

    def __init__(self) -> None:
        self._last: dict[str, Mapping[KeyT, float]] = {}  # member node -> what it answered in the last round
        self._offset: dict[KeyT, float] = {}  # what the total has beyond the sum of `_last`

    def round(self) -> Round[KeyT]:
        """A round of answers; it counts once it is finished."""
        return Round(self)


class Round(Generic[KeyT]):
    """One round of answers of member nodes."""

    def __init__(self, totals: Totals[KeyT]) -> None:
        self._totals = totals
        self._now: dict[str, Mapping[KeyT, float]] = {}
        self._sum: dict[KeyT, float] = {}
        self._moved: dict[KeyT, float] = {}  # growth of the offset

    def take(self, node: str, counters: Mapping[KeyT, float]) -> None:
        """What a member node answered."""
        before = self._totals._last.get(node, {})
        for key, value in counters.items():
            self._sum[key] = self._sum.get(key, 0) + value
            was = before.get(key)
            if key in self._totals._offset and (was is None or value < was):
                self._moved[key] = self._moved.get(key, 0) + (was or 0) - value
        self._gone({key: was for key, was in before.items() if key not in counters})
        self._now[node] = counters

    def finish(self) -> dict[KeyT, float]:
        """The total of each counter that any node reported; others are forgotten (a disk that was removed, say)."""
        totals = self._totals
        for node in totals._last.keys() - self._now.keys():
            self._gone(totals._last[node])
        offset = {key: totals._offset.get(key, 0) + self._moved.get(key, 0) for key in self._sum or totals._offset}
        totals._last, totals._offset = self._now, offset
        return {key: value + offset[key] for key, value in self._sum.items()}

    def _gone(self, counters: Mapping[KeyT, float]) -> None:
        for key, was in counters.items():
            self._moved[key] = self._moved.get(key, 0) + was
