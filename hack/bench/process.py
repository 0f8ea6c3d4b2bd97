"""CPU and memory of processes, from /proc. CPU is user and system time in seconds; the resolution is a tick (10 ms)."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")  # per second
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")  # bytes
# Indexes of the fields after the program's name in /proc/PID/stat (proc(5) counts from 1; the name is the second).
_PARENT, _SESSION, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 4 - 3, 6 - 3, 14 - 3, 15 - 3, 16 - 3, 17 - 3


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU of these processes since their start, including their children that have exited."""
    ticks = 0
    for pid in pids:
        if fields := _stat(pid):
            ticks += sum(int(fields[at]) for at in (_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM))
    return ticks / _TICKS


def memory_bytes(pids: Iterable[int]) -> int:
    """Resident memory. Shared pages are counted once for each process."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            total += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    return total


def tree(root: int) -> list[int]:
    """A process, its descendants, and all other processes of its session."""
    children: defaultdict[int, list[int]] = defaultdict(list)
    members = {root}
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (fields := _stat(int(entry))):
            children[int(fields[_PARENT])].append(int(entry))
            if int(fields[_SESSION]) == root:
                members.add(int(entry))
    todo = list(members)
    while todo:
        for child in children[todo.pop()]:
            if child not in members:
                members.add(child)
                todo.append(child)
    return sorted(members)


def _stat(pid: int) -> list[str] | None:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None  # it has exited
