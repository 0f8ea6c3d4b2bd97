"""Does the member answer? A state machine without I/O, and the probe that feeds it.

    healthy --3 failed probes--> suspect --20 s without an answer--> lost
       ^                            |                                  |
       +--------- an answer --------+----------- an answer ------------+

A probe is a real request with a short deadline: a frozen API server still accepts connections.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Final

from vk_provider.errors import VkError
from vk_provider.kube.client import Client

SUSPECT_AFTER: Final = 3  # failed probes in a row
LOST_AFTER: Final = 20.0  # seconds since the last answer
_DEADLINE: Final = 2.0  # seconds for a probe


class State(StrEnum):
    """What is believed of a member."""

    HEALTHY = "Healthy"
    SUSPECT = "Suspect"
    LOST = "Lost"


class Health:
    """Owner of the belief. Times are seconds of any steady clock."""

    def __init__(self, now: float) -> None:
        self.state = State.HEALTHY
        self.error: VkError | None = None  # of the last probe that failed
        self._failures = 0
        self._last_answer = now

    def answered(self, now: float) -> None:
        """A probe came back."""
        self._failures, self._last_answer = 0, now
        self.state, self.error = State.HEALTHY, None

    def failed(self, now: float, error: VkError) -> None:
        """A probe did not come back."""
        self._failures += 1
        self.error = error
        if now - self._last_answer >= LOST_AFTER:
            self.state = State.LOST
        elif self._failures >= SUSPECT_AFTER and self.state is State.HEALTHY:
            self.state = State.SUSPECT


class HealthLoop:
    """Probes until cancelled, and awaits `changed` after each change of state."""

    def __init__(self, member: Client, *, every: float, changed: Callable[[], Awaitable[None]]) -> None:
        self._member = member
        self._every = every
        self._changed = changed
        self.health = Health(asyncio.get_running_loop().time())

    async def run(self) -> None:
        """One probe every `every` seconds, counted from its start."""
        loop = asyncio.get_running_loop()
        while True:
            started, before = loop.time(), self.health.state
            try:
                await self._member.request("GET", "/readyz", deadline=_DEADLINE)
                self.health.answered(loop.time())
            except VkError as error:
                # Also where it answers, but not as a working API server: not ready (5xx), or it does not know us (401).
                self.health.failed(loop.time(), error)
            if self.health.state is not before:
                await self._changed()
            await asyncio.sleep(max(0.0, started + self._every - loop.time()))
