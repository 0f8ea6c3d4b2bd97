"""How long an event loop does not run its callbacks: a timer that measures its own delay.

Users notice the delay by the clock; on a shared machine most of it is caused by other processes. So the CPU time of
the loop's thread during the delay is kept, too: a stall caused by the program shows in both. While it watches, the
timer costs one per cent of a core; it is off until it is asked.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Final

import msgspec

PERIOD: Final = 0.01  # seconds


class Stalls(msgspec.Struct):
    """The longest stalls, in seconds: by the clock, and of CPU time."""

    wall: float = 0.0
    cpu: float = 0.0


class StallWatch:
    """Watches the event loop that it is created in, between `begin` and `end`."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._task: asyncio.Task[None] | None = None
        self._longest = Stalls()

    def begin(self) -> None:
        self._longest = Stalls()
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def end(self) -> None:
        """Writes the longest stalls to the file, atomically."""
        if self._task is not None:
            self._task.cancel()
        temporary = self._file.with_suffix(".part")
        temporary.write_bytes(msgspec.json.encode(self._longest))
        os.replace(temporary, self._file)

    async def _watch(self) -> None:
        while True:
            began, spent = time.monotonic(), time.thread_time()
            await asyncio.sleep(PERIOD)
            late = max(0.0, time.monotonic() - began - PERIOD)
            self._longest.wall = max(self._longest.wall, late)
            self._longest.cpu = max(self._longest.cpu, min(late, time.thread_time() - spent))
