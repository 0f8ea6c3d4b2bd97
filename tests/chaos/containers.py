"""The containers of real nodes, found by their control groups: independent of what kubelets report."""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.chaos.history import Container, History

_LOOK_EVERY: Final = 0.25  # seconds
_MARK: Final = b"sleep"  # in the command line of each container, and not in that of a sandbox
_POD: Final = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")


class Containers:
    """`run` writes the containers of our pods into the history until it is cancelled.

    A container starts at the first look that finds its process, and ends at the last one: it never seems to run for
    longer than it did.
    """

    def __init__(self, history: History, hierarchy: Path, prefixes: dict[str, str]) -> None:
        """`hierarchy`: where control groups are mounted. `prefixes`: node -> prefix of its control groups."""
        self._history, self._hierarchy, self._prefixes = history, hierarchy, prefixes
        self._running: dict[
            Path, tuple[int, float]
        ] = {}  # control group -> index in the history, time of the last look

    async def run(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(_LOOK_EVERY)

    def processes(self, node: str) -> list[int]:
        """The processes of all containers of a node, sandboxes included."""
        return [pid for group in self._groups(node) for pid in _processes(group)]

    def look(self) -> None:
        """Records which containers run now."""
        now = time.monotonic()
        found = {group for node in self._prefixes for group in self._groups(node) if self._is_container(group)}
        for group in found:
            if group in self._running:
                self._running[group] = self._running[group][0], now
            elif (container := self._container(group, now)) is not None:
                self._running[group] = self._history.put_container(None, container), now
        for group in self._running.keys() - found:
            index, last = self._running.pop(group)
            self._history.put_container(index, replace(self._history.containers[index], ended=last))

    def _groups(self, node: str) -> Iterator[Path]:
        for place, _, _ in os.walk(self._hierarchy / self._prefixes[node]):  # it ignores what vanishes meanwhile
            if _POD.fullmatch(Path(place).parent.name):
                yield Path(place)

    def _is_container(self, group: Path) -> bool:
        if group in self._running:
            return bool(_processes(group))
        return any(_MARK in _command(pid) for pid in _processes(group))

    def _container(self, group: Path, now: float) -> Container | None:
        """None for a pod that is not one of the provider, and for one that is not observed yet."""
        match = _POD.fullmatch(group.parent.name)
        uid = match.group(1).replace("_", "-") if match else ""
        pod = next((seen for seen in reversed(self._history.seen) if seen.uid == uid), None)
        if pod is None or not pod.parent_uid:
            return None
        return Container(pod.cluster, uid, pod.parent_uid, pod.policy, now, key=pod.key)


def _processes(group: Path) -> list[int]:
    try:
        return [int(pid) for pid in (group / "cgroup.procs").read_text().split()]
    except OSError:
        return []  # it has just ended


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
