"""The delays of the work queue, in virtual time: back-off, Retry-After and requested delays."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from tests.unit.queues import Log, passes, working
from vk_provider.errors import ApiError, UnreachableError
from vk_provider.kube.workqueue import WorkQueue

pytestmark = pytest.mark.looptime


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


async def test_success_resets_the_back_off() -> None:
    log = Log(UnreachableError("x"), UnreachableError("x"), None, UnreachableError("x"), None)
    async with working(log, base=1) as queue:
        queue.add("a")
        await passes(10)
        queue.add("a")
        await passes(10)
    assert log.times() == [0, 1, 3, 10, 11]


async def test_a_retry_waits_for_retry_after_and_the_back_off() -> None:
    log = Log(ApiError(429, "TooManyRequests", "slow down", retry_after=7), None)
    async with working(log, base=10) as queue:
        queue.add("a")
        await passes(60)
    assert log.times() == [0, 17]


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
