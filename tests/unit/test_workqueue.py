"""The guarantees of the work queue, in virtual time: order, concurrency, cancellation and logs."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.unit.queues import Log, passes, working
from vk_provider.errors import UnreachableError

pytestmark = pytest.mark.looptime


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


async def test_a_failing_key_does_not_delay_others() -> None:
    log = Log(UnreachableError("x"), None)
    async with working(log, workers=1, base=10) as queue:
        queue.add("a")
        queue.add("b")
        await passes(1)
    assert log.times("b") == [0]


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
