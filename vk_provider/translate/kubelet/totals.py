"""Counters that are sums over the nodes of a member."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class Totals(Generic[KeyT]):
    """Counters of a virtual node: sums over member nodes that never decrease and never jump.

    The first sum is that of all nodes that answered. Then it grows by the growth of each node between two consecutive
    answers of that node. A node that appears, disappears, restarts, is skipped or comes back does not change it.
    Otherwise one missing answer would look like a restart, and the next answer like the CPU time of a node's whole life
    within one interval.
    """

    def __init__(self) -> None:
        self._last: dict[str, Mapping[KeyT, float]] = {}  # member node -> its answer in the last round
        self._offset: dict[KeyT, float] = {}  # the total minus the sum of `_last`

    def round(self) -> Round[KeyT]:
        """A round of answers; it takes effect when it is finished."""
        return Round(self)


class Round(Generic[KeyT]):
    """One round of answers of member nodes."""

    def __init__(self, totals: Totals[KeyT]) -> None:
        self._totals = totals
        self._now: dict[str, Mapping[KeyT, float]] = {}
        self._sum: dict[KeyT, float] = {}
        self._moved: dict[KeyT, float] = {}  # growth of the offset

    def take(self, node: str, counters: Mapping[KeyT, float]) -> None:
        """Adds the answer of a member node."""
        before = self._totals._last.get(node, {})
        for key, value in counters.items():
            self._sum[key] = self._sum.get(key, 0) + value
            was = before.get(key)
            if key in self._totals._offset and (was is None or value < was):
                self._moved[key] = self._moved.get(key, 0) + (was or 0) - value
        self._gone({key: was for key, was in before.items() if key not in counters})
        self._now[node] = counters

    def finish(self) -> dict[KeyT, float]:
        """The total of each counter that any node reported. Others are dropped, for example those of a removed disk."""
        totals = self._totals
        for node in totals._last.keys() - self._now.keys():
            self._gone(totals._last[node])
        offset = {key: totals._offset.get(key, 0) + self._moved.get(key, 0) for key in self._sum or totals._offset}
        totals._last, totals._offset = self._now, offset
        return {key: value + offset[key] for key, value in self._sum.items()}

    def _gone(self, counters: Mapping[KeyT, float]) -> None:
        for key, was in counters.items():
            self._moved[key] = self._moved.get(key, 0) + was
