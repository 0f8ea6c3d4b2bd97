"""An event loop in a thread of its own, for what observes and acts all the time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Final, TypeVar

T = TypeVar("T")

_DEADLINE: Final = 30.0  # seconds of a call


class Observers:
    """A context manager. Raises at its end what has failed in a task before `stop_tasks`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="observers")
        self._futures: list[Future[Any]] = []
        self._failed: list[Future[Any]] = []

    def __enter__(self) -> Observers:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_tasks()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        for future in self._failed:
            future.result()

    def start(self, what: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Starts a task that runs until it is cancelled, or until the end."""
        future = asyncio.run_coroutine_threadsafe(what, self._loop)
        self._futures.append(future)
        return future

    @property
    def failures(self) -> list[str]:
        """The errors that have ended tasks: what they observe is incomplete since then."""
        ended = [future for future in self._futures if future.done() and not future.cancelled()]
        return [repr(error) for future in ended if (error := future.exception()) is not None]

    def run(self, what: Coroutine[Any, Any, T]) -> T:
        """Returns the result."""
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(timeout=_DEADLINE)

    def stop_tasks(self) -> None:
        self._failed += [future for future in self._futures if future.done() and not future.cancelled()]
        self._futures.clear()
        self.run(self._end_tasks())

    async def _end_tasks(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
