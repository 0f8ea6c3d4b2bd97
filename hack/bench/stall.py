"""Stalls of an event loop, measured by the delay of a timer.

Users notice the wall time of a delay, but on a shared machine other processes cause most of it. Therefore the CPU time
of the loop's thread during the delay is recorded, too: a stall that the program causes shows in both. The timer costs
one per cent of a core between `begin` and `end`, and nothing otherwise.
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
    """The longest stalls in seconds, as wall time and as CPU time."""

    wall: float = 0.0
    cpu: float = 0.0


class StallWatch:
    """Measures stalls of the running event loop between `begin` and `end`."""

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
