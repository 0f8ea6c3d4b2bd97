"""Parts of a Node that the parent does not accept: what was refused, and when it is worth another attempt."""

from __future__ import annotations

from typing import Any, Final

from vk_provider.errors import ForbiddenError, InvalidError

REFUSED: Final = (ForbiddenError, InvalidError)  # another attempt with the same content fails as well
_AGAIN: Final = 60.0  # seconds


class Refusals:
    """The parts that were refused. A part is tried again when its content has changed, and after a minute."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[Any, float, str]] = {}  # content, loop time of the next attempt, message

    def holds(self, part: str, content: Any, now: float) -> bool:
        """Whether an attempt to write this content would be in vain."""
        refused = self._parts.get(part)
        return refused is not None and refused[0] == content and now < refused[1]

    def note(self, part: str, content: Any, now: float, error: ForbiddenError | InvalidError) -> None:
        """The parent has refused it."""
        self._parts[part] = content, now + _AGAIN, f"{part} not written: {error.message}"

    def accepted(self, part: str) -> None:
        """The part is as it should be."""
        self._parts.pop(part, None)

    @property
    def messages(self) -> list[str]:
        """One for each part that is refused."""
        return [message for _content, _at, message in self._parts.values()]
