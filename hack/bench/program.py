"""The program under test: starts it in a new session, kills it, and notices when it exits by itself."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from bench import process
from bench.errors import BenchError
from bench.stall import Stalls

T = TypeVar("T")

_GRACE: Final = 10.0  # seconds between SIGTERM and SIGKILL
_ANSWER: Final = 10.0  # seconds in which the launcher must write the stalls
_LOOK: Final = 0.1  # seconds
_TAIL: Final = 5  # lines of the log in an error message


class Program:
    """One command, which can be restarted. With `stall_file`, it is `bench.launcher`, which writes its stalls there."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log: Path, stall_file: Path | None
    ) -> None:
        self._command, self._environment = command, {**os.environ, **environment}
        self._log, self._stall_file = log, stall_file
        self._process: asyncio.subprocess.Process | None = None
        self._started = asyncio.Event()

    async def start(self) -> None:
        try:
            with self._log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self._command,
                    env=self._environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise BenchError(f"{self._command[0]}: cannot start: {error.strerror}") from error
        self._started.set()

    def pids(self) -> list[int]:
        """All its processes."""
        return process.tree(self._process.pid) if self._process else []

    async def kill(self) -> None:
        """Kills all its processes with SIGKILL. Returns when the program has exited."""
        if self._process is None:
            return
        pids, process = self.pids(), self._process
        self._process = None
        self._started.clear()
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()

    async def stop(self) -> None:
        """Sends SIGTERM, and SIGKILL to processes that still run after the grace period."""
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            self._process.terminate()
            await asyncio.wait_for(self._process.wait(), _GRACE)
        await self.kill()

    async def during(self, work: Coroutine[Any, Any, T]) -> T:
        """Awaits the work. Raises BenchError as soon as the program exits by itself."""
        doing, losing = asyncio.create_task(work), asyncio.create_task(self._lost())
        try:
            await asyncio.wait((doing, losing), return_when=asyncio.FIRST_COMPLETED)
            if losing.done():
                raise BenchError(
                    f"the program has exited with status {losing.result()}; {self._log} ends with:\n{self._tail()}"
                )
            return doing.result()
        finally:
            for task in (doing, losing):
                task.cancel()
            await asyncio.gather(doing, losing, return_exceptions=True)

    async def _lost(self) -> int | None:
        while True:
            await self._started.wait()
            process = self._process
            if process is not None:
                await process.wait()
                if process is self._process:
                    return process.returncode

    def begin_stalls(self) -> None:
        """Starts to measure stalls of the event loop, if this program supports it."""
        if self._process and self._stall_file:
            self._stall_file.unlink(missing_ok=True)
            self._process.send_signal(signal.SIGUSR1)

    async def end_stalls(self) -> Stalls | None:
        """The longest stalls since `begin_stalls`. None if this program does not support it."""
        if not self._process or not self._stall_file:
            return None
        self._process.send_signal(signal.SIGUSR2)
        for _ in range(round(_ANSWER / _LOOK)):
            await asyncio.sleep(_LOOK)
            if self._stall_file.exists():
                return msgspec.json.decode(self._stall_file.read_bytes(), type=Stalls)
        raise BenchError(f"the launcher does not write its stalls within {_ANSWER:.0f} s; see {self._log}")

    def _tail(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-_TAIL:]) or "(it is empty)"
