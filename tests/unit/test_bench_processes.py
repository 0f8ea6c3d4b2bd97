"""The benchmark's measurements of processes and event loops."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from bench import process
from bench.errors import BenchError
from bench.program import Program
from bench.stall import Stalls, StallWatch


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    """A shell with a child that keeps a core busy until the end of the test."""
    script = f"{sys.executable} -c 'while True: pass' & wait"
    with subprocess.Popen(["sh", "-c", script], start_new_session=True) as shell:
        yield shell
        os.killpg(shell.pid, signal.SIGKILL)


def test_a_tree_includes_children_with_their_cpu_and_memory(spinning: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while process.cpu_seconds(process.tree(spinning.pid)) < 0.1 and time.monotonic() < deadline:
        time.sleep(0.02)
    pids = process.tree(spinning.pid)
    assert len(pids) == 2
    assert process.cpu_seconds(pids) >= 0.1 > process.cpu_seconds([spinning.pid])
    assert process.memory_bytes(pids) > 2**20


def test_a_process_that_has_exited_counts_nothing() -> None:
    with subprocess.Popen(["true"]) as ended:
        ended.wait()
    assert process.cpu_seconds([ended.pid]) == process.memory_bytes([ended.pid]) == 0


def _program(tmp_path: Path, script: str) -> Program:
    return Program([sys.executable, "-c", script], {}, tmp_path / "log", None)


async def test_a_program_that_exits_by_itself_ends_the_measurement(tmp_path: Path) -> None:
    program = _program(tmp_path, "raise SystemExit('no such cluster')")
    await program.start()
    with pytest.raises(BenchError, match="no such cluster"):
        await program.during(asyncio.Event().wait())
    await program.stop()


async def test_a_restart_of_the_program_does_not_end_the_measurement(tmp_path: Path) -> None:
    program = _program(tmp_path, "import time; time.sleep(600)")
    await program.start()

    async def restart() -> list[int]:
        before = program.pids()
        await program.kill()
        await program.start()
        return before

    before = await program.during(restart())
    after = program.pids()
    assert before and after and not set(before) & set(after)
    await program.kill()
    assert program.pids() == []


async def test_a_stall_is_the_time_in_which_the_loop_is_blocked(tmp_path: Path) -> None:
    file = tmp_path / "stalls.json"
    watch = StallWatch(file)
    watch.begin()
    await asyncio.sleep(0.02)
    end = time.thread_time() + 0.2
    while time.thread_time() < end:  # like a callback that computes for 200 ms
        pass
    await asyncio.sleep(0.02)
    watch.end()
    found = msgspec.json.decode(file.read_bytes(), type=Stalls)
    assert 0.18 <= found.cpu <= found.wall


async def test_a_loop_that_only_waits_has_no_stall(tmp_path: Path) -> None:
    file = tmp_path / "stalls.json"
    watch = StallWatch(file)
    watch.begin()
    await asyncio.sleep(0.05)
    watch.end()
    assert msgspec.json.decode(file.read_bytes(), type=Stalls).cpu < 0.05
