"""The guarantees of the work queue, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from tests.unit.jitter import LongestJitter
from vk_provider.errors import ApiError, UnreachableError
from vk_provider.kube.workqueue import WorkQueue

pytestmark = pytest.mark.looptime

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


async def test_an_added_key_runs() -> None:
    log = Log()
    async with working(log) as queue:
        queue.add("a")
        await passes(1)
    assert log.times() == [0]


async def test_adds_before_a_worker_starts_are_one_run() -> None:
    log = Log()
    async with working(log) as queue:
        for _ in range(5):
            queue.add("a")
        await passes(1)
    assert log.times() == [0]


async def test_at_most_one_worker_runs_a_key() -> None:
    log = Log(lasts=1)
    async with working(log) as queue:
        for _ in range(20):
            queue.add("a")
            await passes(0.3)
    assert log.most == 1


async def test_different_keys_run_concurrently() -> None:
    log = Log(lasts=1)
    async with working(log) as queue:
        queue.add("a")
        queue.add("b")
        await passes(0.5)
        assert sorted(log.running) == ["a", "b"]


async def test_at_most_as_many_keys_run_as_there_are_workers() -> None:
    log = Log(lasts=1)
    async with working(log, workers=2) as queue:
        for key in "abcde":
            queue.add(key)
        await passes(0.5)
        assert len(log.running) == 2


async def test_adds_during_a_run_lead_to_exactly_one_more_run() -> None:
    log = Log(lasts=1)
    async with working(log) as queue:
        queue.add("a")
        await passes(0.5)
        for _ in range(3):
            queue.add("a")
        await passes(10)
    assert log.times() == [0, 1]


async def test_an_add_during_a_run_that_fails_leads_to_one_more_run_at_once() -> None:
    log = Log(UnreachableError("x"), None, lasts=1)
    async with working(log, base=100) as queue:
        queue.add("a")
        await passes(0.5)
        queue.add("a")
        await passes(50)
    assert log.times() == [0, 1]


async def test_a_run_that_returns_a_delay_is_repeated_after_it() -> None:
    log = Log(5.0, None)
    async with working(log) as queue:
        queue.add("a")
        await passes(60)
    assert log.times() == [0, 5]


async def test_failures_back_off_exponentially_up_to_the_cap() -> None:
    log = Log(UnreachableError("x"))
    async with working(log, base=1, cap=8) as queue:
        queue.add("a")
        await passes(32)
    assert log.times() == [0, 1, 3, 7, 15, 23, 31]


async def test_an_unexpected_exception_backs_off_like_other_failures() -> None:
    log = Log(ZeroDivisionError(), ZeroDivisionError(), None)
    async with working(log, base=1) as queue:
        queue.add("a")
        await passes(60)
    assert log.times() == [0, 1, 3]


async def test_a_failing_key_does_not_delay_others() -> None:
    log = Log(UnreachableError("x"), None)
    async with working(log, workers=1, base=10) as queue:
        queue.add("a")
        queue.add("b")
        await passes(1)
    assert log.times("b") == [0]


async def test_success_resets_the_back_off() -> None:
    log = Log(UnreachableError("x"), UnreachableError("x"), None, UnreachableError("x"), None)
    async with working(log, base=1) as queue:
        queue.add("a")
        await passes(10)
        queue.add("a")
        await passes(10)
    assert log.times() == [0, 1, 3, 10, 11]


async def test_retry_after_is_honoured() -> None:
    log = Log(ApiError(429, "TooManyRequests", "slow down", retry_after=7), None)
    async with working(log) as queue:
        queue.add("a")
        await passes(60)
    assert log.times() == [0, 7]


async def test_retry_after_does_not_shorten_the_back_off() -> None:
    log = Log(ApiError(429, "TooManyRequests", "slow down", retry_after=1), None)
    async with working(log, base=10) as queue:
        queue.add("a")
        await passes(60)
    assert log.times() == [0, 10]


async def test_an_add_overtakes_a_delay() -> None:
    log = Log()
    async with working(log) as queue:
        queue.add_after("a", 10)
        await passes(2)
        queue.add("a")
        await passes(60)
    assert log.times() == [2]


async def test_an_add_overtakes_a_back_off() -> None:
    log = Log(UnreachableError("x"), None)
    async with working(log, base=20) as queue:
        queue.add("a")
        await passes(2)
        queue.add("a")
        await passes(60)
    assert log.times() == [0, 2]


@pytest.mark.parametrize("delays", [(3, 9), (9, 3), (3, 3)])
async def test_the_sooner_of_two_delays_wins(delays: tuple[float, float]) -> None:
    log = Log()
    async with working(log) as queue:
        for delay in delays:
            queue.add_after("a", delay)
        await passes(60)
    assert log.times() == [3]


async def test_a_delay_that_ends_before_the_one_that_the_run_returns_wins() -> None:
    log = Log(50.0, None, lasts=1)
    async with working(log) as queue:
        queue.add("a")
        await passes(0.5)
        queue.add_after("a", 4)
        await passes(40)
    assert log.times() == [0, 4.5]


async def test_a_delay_that_ends_during_a_run_leads_to_one_more_run() -> None:
    log = Log(lasts=2)
    async with working(log) as queue:
        queue.add("a")
        await passes(0.5)
        queue.add_after("a", 1)
        await passes(60)
    assert log.times() == [0, 2]


async def test_a_delay_for_a_queued_key_is_ignored() -> None:
    log = Log()
    async with working(log) as queue:
        queue.add("a")
        queue.add_after("a", 5)
        await passes(60)
    assert log.times() == [0]


async def test_the_length_counts_queued_and_running_keys() -> None:
    async with working(Log(lasts=5), workers=1) as queue:
        queue.add("a")
        queue.add("b")
        await passes(1)
        assert len(queue) == 2


async def test_cancelling_ends_the_runs() -> None:
    log = Log(lasts=100)
    async with working(log) as queue:
        queue.add("a")
        await passes(1)
    assert log.running == []


async def test_cancelling_cleans_up_the_timers() -> None:
    log = Log()
    async with working(log) as queue:
        queue.add_after("a", 5)
        await passes(1)
    await passes(60)
    assert (log.starts, len(queue)) == ([], 0)


async def test_a_cancelled_error_from_a_run_does_not_end_the_worker() -> None:
    log = Log()

    async def reconcile(key: str) -> float | None:
        if key == "leak":
            other = asyncio.create_task(passes(1))
            other.cancel()
            await other
        return await log(key)

    async with working(reconcile, workers=1, base=1000, cap=1000) as queue:
        queue.add("leak")
        queue.add("a")
        await passes(1)
    assert log.times() == [0]


async def test_an_unexpected_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    async with working(Log(ZeroDivisionError(), None)) as queue:
        queue.add("a")
        await passes(1)
    assert [record.exc_info is not None for record in caplog.records if record.name.startswith("vk_provider")] == [True]


async def test_expected_errors_are_logged_once_they_persist(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="vk_provider")
    async with working(Log(*[UnreachableError("x")] * 3, None)) as queue:
        queue.add("a")
        await passes(60)
    assert [record.levelname for record in caplog.records if record.name.startswith("vk_provider")] == ["WARNING"]


async def test_expected_errors_that_persist_are_logged_at_intervals(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="vk_provider")
    log = Log(UnreachableError("x"))
    async with working(log) as queue:
        queue.add("a")
        await passes(3600)
    assert len(log.starts) > 100
    assert [record.__dict__["attempt"] for record in caplog.records][:4] == [3, 30, 60, 90]


def test_delays_too_short_for_a_timer_of_uvloop_count_as_delays() -> None:
    """For less than half a millisecond, uvloop creates a handle that is no timer and has no time."""

    async def scenario() -> None:
        ran = asyncio.Event()

        async def reconcile(_key: str) -> None:
            ran.set()

        queue: WorkQueue[str] = WorkQueue("test", reconcile, workers=1)
        for seconds in (0.0, 0.0001, 0.0, 1.0):
            queue.add_after("a", seconds)
        work = asyncio.ensure_future(queue.run())
        await ran.wait()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())
