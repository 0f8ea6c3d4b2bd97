"""A value that changes, and calls for those who depend on it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Observable(Generic[T]):
    """One value with one writer. Used from one event loop.

    Handlers are called synchronously, in the order in which they subscribed, after each change.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._handlers: list[Callable[[], None]] = []

    @property
    def value(self) -> T:
        """The current value."""
        return self._value

    def set(self, value: T) -> None:
        """Replaces the value and calls the handlers."""
        self._value = value
        for handler in self._handlers:
            handler()

    def subscribe(self, handler: Callable[[], None]) -> None:
        """Calls `handler` after each change, for as long as this object lives."""
        self._handlers.append(handler)
