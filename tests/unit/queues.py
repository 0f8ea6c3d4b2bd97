"""A work queue in virtual time, and a record of its runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from tests.unit.jitter import LongestJitter
from vk_provider.kube.workqueue import WorkQueue

Step = Callable[[str], Awaitable[float | None]]


def now() -> float:
    return asyncio.get_running_loop().time()


class Log:
    """Records runs. Each takes `lasts` seconds, and then returns or raises the next of `steps`; the last repeats."""

    def __init__(self, *steps: float | Exception | None, lasts: float = 0.0) -> None:
        self.steps = list(steps) or [None]
        self.lasts = lasts
        self.starts: list[tuple[str, float]] = []
        self.running: list[str] = []
        self.most = 0

    async def __call__(self, key: str) -> float | None:
        self.starts.append((key, round(now(), 3)))
        self.running.append(key)
        self.most = max(self.most, self.running.count(key))
        try:
            await asyncio.sleep(self.lasts)
        finally:
            self.running.remove(key)
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step

    def times(self, key: str = "a") -> list[float]:
        return [when for name, when in self.starts if name == key]


@asynccontextmanager
async def working(
    reconcile: Step, *, workers: int = 4, base: float = 0.1, cap: float = 30.0
) -> AsyncIterator[WorkQueue[str]]:
    queue: WorkQueue[str] = WorkQueue("test", reconcile, workers=workers, rng=LongestJitter(), base=base, cap=cap)
    task = asyncio.create_task(queue.run())
    try:
        yield queue
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def passes(seconds: float) -> None:
    """Lets virtual time pass."""
    await asyncio.sleep(seconds)
