"""What may cost how much: DESIGN.md §11 as a table. Rows without a limit are measured because somebody will ask."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """What a figure is made of. Whoever shares the machine stretches seconds, but not the other three."""

    CPU = "cpu"
    MEMORY = "memory"
    COUNT = "count"
    TIME = "time"


DECISIVE: Final = frozenset({Kind.CPU, Kind.MEMORY, Kind.COUNT})
"""Over budget in one of these fails the run."""


@dataclass(frozen=True)
class Row:
    """One row of the table. `what` may name `{pods}`, the number of pods that the figure was taken with."""

    key: str
    what: str
    unit: str
    kind: Kind
    limit: float | None = None
    per_pod: float = 0.0
    """The limit grows by this with every pod."""
    at_least: bool = False
    """The limit is the smallest good value instead of the largest."""
    digits: int = 2
    """Shown, and compared with the limit, to this many decimals: one stray request in 500 pods is no finding."""

    def budget(self, pods: int) -> float | None:
        return None if self.limit is None else self.limit + self.per_pod * pods


_MIB_PER_POD: Final = 20 / 1024
_MEMORY: Final = 80.0

ROWS: Final = (
    Row("own_cpu", "own CPU per pod life (created, Running, deleted)", "ms", Kind.CPU, 5),
    Row("own_cpu_tokens", "the same, with service account tokens", "ms", Kind.CPU),
    Row("event_cpu", "own CPU for a watch event that changes nothing", "µs", Kind.CPU, digits=0),
    Row("receive_cpu", "of which to receive and decode it", "µs", Kind.CPU, 40, digits=0),
    Row("idle_cpu", "idle with {pods} pods", "% of a core", Kind.CPU, 0.5),
    Row("everything_ratio", "CPU of everything, against a plain cluster", "x", Kind.CPU, 3),
    Row("everything_cpu", "CPU of everything per pod life, both control planes", "ms", Kind.CPU, digits=0),
    Row("plain_cpu", "CPU of everything per pod life in a plain cluster", "ms", Kind.CPU, digits=0),
    Row("parent_requests", "requests per pod life, parent", "", Kind.COUNT, 4),
    Row("member_requests", "requests per pod life, member", "", Kind.COUNT, 2),
    Row("parent_requests_tokens", "the same with tokens and all dependents, parent", "", Kind.COUNT),
    Row("member_requests_tokens", "the same with tokens and all dependents, member", "", Kind.COUNT),
    Row("memory_before", "memory (RSS) before", "MiB", Kind.MEMORY, _MEMORY, digits=0),
    Row("memory_pods", "memory with {pods} pods", "MiB", Kind.MEMORY, _MEMORY, _MIB_PER_POD, digits=0),
    Row("memory_large", "memory with {pods} pods", "MiB", Kind.MEMORY, _MEMORY, _MIB_PER_POD, digits=0),
    Row(
        "memory_restarted",
        "memory after a restart with {pods} pods",
        "MiB",
        Kind.MEMORY,
        _MEMORY,
        _MIB_PER_POD,
        digits=0,
    ),
    Row("stall", "longest event-loop stall, CPU time of it, up to {pods} pods", "ms", Kind.CPU, 50, digits=0),
    Row("stall_wall", "longest event-loop stall, by the clock", "ms", Kind.TIME, 50, digits=0),
    Row("restart_writes", "restart with {pods} pods: pods created, deleted, patched", "", Kind.COUNT, 0, digits=0),
    Row("restart_requests", "restart with {pods} pods: requests on both sides", "", Kind.COUNT, digits=0),
    Row("restart_cpu", "restart with {pods} pods: own CPU", "s", Kind.CPU),
    Row("restart_time", "restart with {pods} pods: until synced", "s", Kind.TIME, 15, digits=1),
    Row("burst_rate", "burst of {pods} pods", "pods/s", Kind.TIME, 30, at_least=True, digits=1),
    Row("burst_p50", "burst of {pods} pods: created to Running, p50", "s", Kind.TIME, 15, digits=1),
    Row("plain_rate", "the same burst in a plain cluster", "pods/s", Kind.TIME, digits=1),
    Row("created_p50", "bound -> created in member, p50", "ms", Kind.TIME, 15, digits=1),
    Row("created_p99", "bound -> created in member, p99", "ms", Kind.TIME, 100, digits=1),
    Row("running_p50", "Running in member -> Running in parent, p50", "ms", Kind.TIME, 15, digits=1),
    Row("running_p99", "Running in member -> Running in parent, p99", "ms", Kind.TIME, 100, digits=1),
    Row("exec_opened", "exec through the parent: until it is open, p50", "ms", Kind.TIME, digits=1),
    Row("exec_overhead", "beyond the same exec made directly in the member", "ms", Kind.TIME, 15, digits=1),
    Row("exec_rate", "exec through the parent: throughput", "MB/s", Kind.TIME, digits=0),
    Row("exec_rate_direct", "the same made directly in the member", "MB/s", Kind.TIME, digits=0),
    Row("exec_share", "of 100 MB/s, or of half the direct one if that is less", "x", Kind.TIME, 1, at_least=True),
    Row("log_rate", "logs -f through the parent: throughput", "MB/s", Kind.TIME, 50, at_least=True, digits=0),
    Row("log_rate_direct", "the same directly from the member", "MB/s", Kind.TIME, digits=0),
    Row("exec_memory", "memory with {pods} idle exec sessions", "MiB", Kind.MEMORY, 150, digits=0),
)
