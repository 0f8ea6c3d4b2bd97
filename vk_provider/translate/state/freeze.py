"""When losses are not declared: many members are silent at once, or the parent itself has a problem.

Several members that become silent together usually mean one broken network (that of the provider itself), not several
broken clusters. And a process that cannot write to the parent cannot judge members. During a freeze no member is newly
declared lost. Members that were lost before stay lost.

    free --at least 2 and at least half of the members become silent within 60 s--> frozen
    frozen --fewer than 2, or less than half of the members, are silent--> free

A freeze does not apply to a member that an administrator fences, because its loss is a fact. That member still counts
as silent for the others. No I/O, no clock: times are seconds of one steady clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

_WINDOW: Final = 60.0  # seconds within which losses count as one


class Freeze:
    """Owns the set of silent members of one process, and decides whether losses may be declared."""

    def __init__(self) -> None:
        self._members: frozenset[str] = frozenset()
        self._silent_since: dict[str, float] = {}
        self._together = False
        self._parent_error = ""
        self.wrote_at = 0.0  # when the parent last accepted a write of this process

    def members(self, names: Iterable[str]) -> None:
        """Replaces the set of all members."""
        self._members = frozenset(names)
        self._silent_since = {name: since for name, since in self._silent_since.items() if name in self._members}
        self._judge()

    def silent(self, name: str, now: float) -> None:
        """The member is suspect or lost."""
        self._silent_since.setdefault(name, now)
        self._judge()

    def answers(self, name: str) -> None:
        """The member answers."""
        if self._silent_since.pop(name, None) is not None:
            self._judge()

    def parent(self, now: float, error: str = "") -> None:
        """Records the result of the latest write to the parent; an empty `error` means success."""
        self._parent_error = error
        if not error:
            self.wrote_at = now

    @property
    def why(self) -> str:
        """Why no member is newly declared lost; empty if members may be declared lost."""
        if self._parent_error:
            return f"the parent is slow or does not answer: {self._parent_error}"
        if self._together:
            names = ", ".join(sorted(self._silent_since))
            return f"{len(self._silent_since)} of {len(self._members)} members fell silent together: {names}"
        return ""

    def _judge(self) -> None:
        enough = max(2, (len(self._members) + 1) // 2)
        if len(self._silent_since) < enough:
            self._together = False
        elif not self._together:
            times = sorted(self._silent_since.values())
            self._together = any(
                last - first <= _WINDOW for first, last in zip(times, times[enough - 1 :], strict=False)
            )
