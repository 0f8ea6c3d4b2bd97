"""CPU and requests of a period, and the end of the activity of the program under test."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from localkube import ClusterInfo, processes
from localkube.state import State

from bench import audit, process
from bench.audit import AuditLog, Purpose, Request
from bench.errors import BenchError
from bench.program import Program

T = TypeVar("T")

_LOOK: Final = 0.25  # seconds
_AT_WORK: Final = 0.02  # CPU seconds within one interval; leases and probes need less
_LOG_DELAY: Final = 0.3  # seconds; the server writes the audit line after its answer
# Requests of an idle program.
_UPKEEP: Final = frozenset({Purpose.NODE, Purpose.PROBE, Purpose.WATCH, Purpose.ACCESS})


@dataclass(frozen=True)
class Measured:
    """The cost of one piece of work: seconds, CPU seconds, and the requests of all users in each cluster."""

    seconds: float = 0.0
    own_cpu: float = 0.0
    cluster_cpu: float = 0.0
    requests: dict[str, Counter[Request]] = field(default_factory=dict)

    def __add__(self, other: Measured) -> Measured:
        return Measured(
            self.seconds + other.seconds,
            self.own_cpu + other.own_cpu,
            self.cluster_cpu + other.cluster_cpu,
            {
                name: self.requests.get(name, Counter()) + other.requests.get(name, Counter())
                for name in self.requests.keys() | other.requests.keys()
            },
        )

    @property
    def everything_cpu(self) -> float:
        return self.own_cpu + self.cluster_cpu

    def beyond(self, idle: Measured) -> Measured:
        """The same without the CPU that idle clusters use in this time. Requests do not change."""
        share = self.seconds / idle.seconds
        return Measured(
            self.seconds,
            self.own_cpu - idle.own_cpu * share,
            self.cluster_cpu - idle.cluster_cpu * share,
            self.requests,
        )


class Meter:
    """Measures a program, if there is one, and the clusters that it serves."""

    def __init__(self, clusters: list[ClusterInfo], root: Path | None, program: Program | None, user: str) -> None:
        """`user` is the program's name in the audit logs."""
        self._clusters, self._ident = clusters, State(root).ident
        self._program, self.user = program, user

    async def measure(self, work: Awaitable[object]) -> Measured:
        """The cost of the work, from now to its end."""
        measured, _ = await self.result(work)
        return measured

    async def result(self, work: Awaitable[T]) -> tuple[Measured, T]:
        """The cost of the work, and its result."""
        logs = self.logs()
        began, own, clusters = time.monotonic(), self.own_cpu(), self.cluster_cpu()
        result = await work
        seconds = time.monotonic() - began
        own, clusters = self.own_cpu() - own, self.cluster_cpu() - clusters
        await asyncio.sleep(_LOG_DELAY)
        return Measured(seconds, own, clusters, {name: log.take() for name, log in logs.items()}), result

    async def until_idle(self, quiet: float, seconds: float) -> float:
        """Waits until the program is idle: only periodic requests, and almost no CPU.

        Returns after `quiet` idle seconds, with the monotonic time at which they started. Raises BenchError if the
        program is not idle within `seconds`.
        """
        logs = self.logs()
        began = last = time.monotonic()
        cpu = self.own_cpu()
        while (now := time.monotonic()) - last < quiet:
            if now - began > seconds:
                raise BenchError(f"the program is not idle within {seconds:.0f} s")
            await asyncio.sleep(_LOOK)
            before, cpu = cpu, self.own_cpu()
            asked = [request for log in logs.values() for request in audit.by(log.take(), self.user)]
            if cpu - before > _AT_WORK or any(request.purpose not in _UPKEEP for request in asked):
                last = time.monotonic()
        return last

    def memory_mib(self) -> float:
        """Resident memory of the program."""
        return process.memory_bytes(self._program.pids()) / 2**20 if self._program else 0.0

    def own(self, measured: Measured) -> dict[str, Counter[Request]]:
        """The program's requests in each cluster."""
        return {name: audit.by(requests, self.user) for name, requests in measured.requests.items()}

    def own_cpu(self) -> float:
        """CPU seconds of the program until now."""
        return process.cpu_seconds(self._program.pids()) if self._program else 0.0

    def cluster_cpu(self) -> float:
        """CPU seconds of all processes of the clusters until now."""
        return sum(
            process.cpu_seconds(found.pid for found in processes.find(self._ident, info.name))
            for info in self._clusters
        )

    def logs(self) -> dict[str, AuditLog]:
        """The audit logs by cluster. Each reading starts at the current end of the file."""
        return {info.name: AuditLog(info.audit_log) for info in self._clusters if info.audit_log}
