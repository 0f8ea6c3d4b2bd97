"""A level-triggered work queue: it queues *that* something changed, never *what*.

Guarantees: at most one worker is at a key at any time. Any number of `add`s before a worker starts cause one run. An
`add` during a run causes one more run after it. A key that fails is retried for ever, with exponential backoff and full
jitter. `run` ends when it is cancelled. The queue owns when a key runs; `reconcile` owns what happens then.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from vk_provider.errors import ApiError, VkError
from vk_provider.kube.backoff import Backoff

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)

# Returns None when the key is done, or the seconds after which to reconcile it again.
Reconcile = Callable[[K], Awaitable[float | None]]


class WorkQueue(Generic[K]):
    """See the module's text. Not thread-safe: used from one event loop."""

    def __init__(
        self,
        name: str,
        reconcile: Reconcile[K],
        *,
        workers: int,
        rng: random.Random | None = None,
        base: float = 0.1,
        cap: float = 30.0,
    ) -> None:
        """`base` and `cap` bound the pauses after failures, in seconds (see Backoff)."""
        self.name = name
        self._reconcile = reconcile
        self._workers = workers
        self._rng = rng or random.Random()
        self._base, self._cap = base, cap
        self._ready: asyncio.Queue[K] = asyncio.Queue()
        self._queued: set[K] = set()
        self._running: set[K] = set()
        self._again: set[K] = set()
        self._backoffs: dict[K, Backoff] = {}  # of the keys whose last run failed
        self._timers: dict[K, tuple[float, asyncio.Handle]] = {}  # loop time: uvloop's handles do not all have one

    def __len__(self) -> int:
        return len(self._queued) + len(self._running)

    def failures(self, key: K) -> int:
        """How often the key has failed in a row."""
        return backoff.failures if (backoff := self._backoffs.get(key)) else 0

    def add(self, key: K) -> None:
        """Runs the key as soon as a worker is free, even if a delay of it is pending."""
        if timer := self._timers.pop(key, None):
            timer[1].cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued.add(key)
            self._ready.put_nowait(key)

    def add_after(self, key: K, seconds: float) -> None:
        """Runs the key after that time, unless it runs before. Of two delays the shorter one counts."""
        if key in self._queued:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + seconds
        if timer := self._timers.get(key):
            if timer[0] <= when:
                return
            timer[1].cancel()
        self._timers[key] = when, loop.call_later(seconds, self.add, key)

    async def run(self) -> None:
        """Works until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
        finally:
            for _, timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _work(self) -> None:
        while True:
            key = await self._ready.get()
            self._queued.discard(key)
            self._running.add(key)
            delay: float | None
            try:
                delay = await self._reconcile(key)
                self._backoffs.pop(key, None)
            except asyncio.CancelledError as error:
                # The cancellation of another task, leaked from an await of it, must not end this worker.
                if (task := asyncio.current_task()) is None or task.cancelling():
                    raise
                delay = self._failed(key, error)
            except Exception as error:
                delay = self._failed(key, error)
            finally:
                self._running.discard(key)
            if key in self._again:
                self._again.discard(key)
                self.add(key)
            elif delay is not None:
                self.add_after(key, delay)

    def _failed(self, key: K, error: BaseException) -> float:
        """Logs a failure. Returns the seconds until the next run of the key."""
        backoff = self._backoffs.get(key)
        if backoff is None:
            backoff = self._backoffs[key] = Backoff(base=self._base, cap=self._cap, warn_at=3, rng=self._rng)
        delay = backoff.failed()
        fields = {"queue": self.name, "key": key, "attempt": backoff.failures}
        if isinstance(error, VkError):
            log.log(backoff.level, "reconcile failed", extra={**fields, "error": str(error)})
        else:  # a defect in this program: the traceback helps
            log.exception("reconcile failed", extra=fields)
        if isinstance(error, ApiError) and error.retry_after is not None:
            delay += error.retry_after  # and not the larger one: what was refused together would come back together
        return delay
