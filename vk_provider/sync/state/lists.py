"""Whether the lists of a member are current: a watch that fails again and again shows a state that no longer is.

Owns since when a list fails. One failure is normal: servers restart. What counts is a series of failures that lasts,
while the member answers probes; if it does not, its health explains them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from vk_provider.errors import ForbiddenError, RefusedError, UnauthorizedError
from vk_provider.translate.state.rights import GRANT

# Seconds after which a failure of a series counts. More than an attempt takes at most (30 s): one that began while the
# member did not answer says nothing about it now.
_NOT_CURRENT: Final = 45.0
_SERIES: Final = 60.0  # seconds without a failure that end a series; more than a pause and the next attempt take


class Watched(Protocol):
    """Interface: a list that is kept current; an Informer."""

    @property
    def failure(self) -> tuple[float, Exception] | None:
        """Loop time and error of the last attempt; None if something has arrived since."""

    @property
    def path(self) -> str: ...


@dataclass(frozen=True)
class NotCurrent:
    """A list that is not current, and the error of its last attempt."""

    path: str
    error: Exception

    def __str__(self) -> str:
        return f"the list of {self.path} is not current: {self.error}"

    @property
    def refusal(self) -> RefusedError | None:
        """The member does not permit the list any more. None for any other failure."""
        if not isinstance(self.error, UnauthorizedError | ForbiddenError):
            return None
        return RefusedError(str(self), reason=self.error.reason, remedy=GRANT, answered=True)


class Lists:
    """See the module's text. Times are of the event loop."""

    def __init__(self, lists: Sequence[Watched]) -> None:
        self._lists = lists
        self._since: dict[int, float] = {}  # index -> when its series was first seen while the member answers

    def reset(self) -> None:
        """The member does not answer: failures until now prove nothing about a single list."""
        self._since.clear()

    def not_current(self, now: float) -> NotCurrent | None:
        """A list whose series of failures has lasted for too long, if there is one."""
        found = None
        for index, each in enumerate(self._lists):
            failure = each.failure
            if failure is None or now - failure[0] > _SERIES:
                self._since.pop(index, None)
            elif failure[0] - self._since.setdefault(index, now) >= _NOT_CURRENT:
                found = found or NotCurrent(each.path, failure[1])
        return found
