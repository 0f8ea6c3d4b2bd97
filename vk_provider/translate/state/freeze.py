"""When losses are not believed: many members at once, or a parent that is in trouble itself.

Several members that fall silent together are far more often one broken network (the provider's own) than several broken
clusters; and who cannot write to the parent must not judge others. While frozen, nothing is newly declared lost. What
was lost before stays so.

    free --at least 2 and at least half of the members doubted, within 60 s--> frozen
    frozen --fewer than 2, or less than half, are doubted: they answered--> free

A member that somebody fences is exempt: its loss is a fact then. It still counts for the others, whose losses
nobody has stated. No I/O, no clock: times are seconds of one steady clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_WINDOW: Final = 60.0  # seconds in which losses count as one


class Freeze:
    """Owner of the doubt about all members of one process."""

    def __init__(self) -> None:
        self._members: frozenset[str] = frozenset()
        self._doubted: dict[str, float] = {}  # since when
        self._together = False
        self._parent = ""
        self.wrote_at = 0.0  # when the parent took a write of this process for the last time

    def members(self, names: Iterable[str]) -> None:
        """These are all members that there are now."""
        self._members = frozenset(names)
        self._doubted = {name: since for name, since in self._doubted.items() if name in self._members}
        self._judge()

    def doubt(self, name: str, now: float) -> None:
        """The member is suspect or lost."""
        self._doubted.setdefault(name, now)
        self._judge()

    def trust(self, name: str) -> None:
        """The member answers."""
        if self._doubted.pop(name, None) is not None:
            self._judge()

    def parent(self, now: float, trouble: str = "") -> None:
        """How the last write to the parent went: what is wrong with it, or nothing."""
        self._parent = trouble
        if not trouble:
            self.wrote_at = now

    @property
    def why(self) -> str:
        """Why nothing is newly declared lost; empty: it may be."""
        if self._parent:
            return f"the parent is slow or does not answer: {self._parent}"
        if self._together:
            names = ", ".join(sorted(self._doubted))
            return f"{len(self._doubted)} of {len(self._members)} members fell silent together: {names}"
        return ""

    def _judge(self) -> None:
        enough = max(2, (len(self._members) + 1) // 2)
        if len(self._doubted) < enough:
            self._together = False
        elif not self._together:
            times = sorted(self._doubted.values())
            self._together = any(
                last - first <= _WINDOW for first, last in zip(times, times[enough - 1 :], strict=False)
            )
