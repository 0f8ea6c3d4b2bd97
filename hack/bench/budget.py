"""The rows of the table, with their limits and goals. A goal is a value that a later version must reach.

Most limits are the measured values at the time when they were set, plus a third. Ratios of wall times have wider
limits. When a change reaches a goal, the goal becomes the limit. Rows without a limit are only shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Kind(StrEnum):
    """The unit family of a value. It decides whether a row can have a limit."""

    RATIO = "ratio"
    """The quotient of two values of the same kind from the same run."""
    COUNT = "count"
    MEMORY = "memory"
    CPU = "cpu"
    TIME = "time"


DECISIVE: Final = frozenset({Kind.RATIO, Kind.COUNT, Kind.MEMORY})
"""Only rows of these kinds have limits. CPU time and seconds depend on the machine and on its other users."""


@dataclass(frozen=True)
class Bound:
    """A limit or a goal: a constant part, and a part per pod of the measurement."""

    base: float
    per_pod: float = 0.0

    def at(self, pods: int) -> float:
        return self.base + self.per_pod * pods


@dataclass(frozen=True)
class Row:
    """One row of the table. `what` may contain `{pods}`, the number of pods of the measurement."""

    key: str
    what: str
    unit: str
    kind: Kind
    limit: Bound | None = None
    goal: Bound | None = None
    at_least: bool = False
    """Limit and goal are minimum values instead of maximum values."""
    digits: int = 2
    """The number of decimals that are shown and compared: one extra request for 500 pods is no regression."""


_KIB: Final = 1 / 1024
_MEMORY: Final = Bound(90, 20 * _KIB)
_MEMORY_GOAL: Final = Bound(60, 15 * _KIB)

ROWS: Final = (
    Row(
        "own_cpu_share", "own CPU per pod life, relative to a plain cluster", "x", Kind.RATIO, Bound(0.25), Bound(0.17)
    ),
    Row("everything_ratio", "CPU of all processes, relative to a plain cluster", "x", Kind.RATIO, Bound(2.7), Bound(2)),
    Row("receive_ratio", "CPU to receive a watch event, relative to a plain loop", "x", Kind.RATIO, Bound(1.15)),
    Row("parent_requests", "requests per pod life, parent", "", Kind.COUNT, Bound(3), Bound(2), digits=1),
    Row("member_requests", "requests per pod life, member", "", Kind.COUNT, Bound(2), Bound(2), digits=1),
    Row(
        "parent_requests_slow", "the same, one pod after another, parent", "", Kind.COUNT, Bound(2), Bound(2), digits=1
    ),
    Row(
        "member_requests_slow", "the same, one pod after another, member", "", Kind.COUNT, Bound(2), Bound(2), digits=1
    ),
    Row("parent_requests_tokens", "the same with tokens and all dependents, parent", "", Kind.COUNT, digits=1),
    Row("member_requests_tokens", "the same with tokens and all dependents, member", "", Kind.COUNT, digits=1),
    Row("idle_writes", "writes per minute, idle with {pods} pods", "", Kind.COUNT, Bound(8), Bound(8), digits=0),
    Row("restart_writes", "restart with {pods} pods: pods written", "", Kind.COUNT, Bound(0), Bound(0), digits=0),
    Row("memory_before", "memory (RSS) before", "MiB", Kind.MEMORY, _MEMORY, _MEMORY_GOAL, digits=0),
    Row("memory_pods", "memory with {pods} pods", "MiB", Kind.MEMORY, _MEMORY, _MEMORY_GOAL, digits=0),
    Row("memory_large", "memory with {pods} pods", "MiB", Kind.MEMORY, _MEMORY, _MEMORY_GOAL, digits=0),
    Row(
        "memory_restarted",
        "memory after a restart with {pods} pods",
        "MiB",
        Kind.MEMORY,
        _MEMORY,
        _MEMORY_GOAL,
        digits=0,
    ),
    Row("exec_memory", "memory with {pods} idle exec sessions", "MiB", Kind.MEMORY, Bound(113), digits=0),
    Row(
        "exec_opened_cpu_ratio",
        "own CPU of an exec, relative to the member's for a direct one",
        "x",
        Kind.RATIO,
        Bound(0.2),
    ),
    Row(
        "exec_rate_cpu_ratio",
        "own CPU of exec output, relative to the member's for a direct one",
        "x",
        Kind.RATIO,
        Bound(0.36),
    ),
    Row(
        "log_rate_cpu_ratio",
        "own CPU of logs -f, relative to the member's for direct ones",
        "x",
        Kind.RATIO,
        Bound(0.9),
    ),
    Row(
        "exec_opened_ratio",
        "exec through the parent: time to open, relative to a direct one",
        "x",
        Kind.RATIO,
        Bound(2.7),
    ),
    Row(
        "exec_rate_ratio",
        "exec through the parent: throughput, relative to a direct one",
        "x",
        Kind.RATIO,
        Bound(0.3),  # of two wall times: measured values are 0.41 to 1.0
        at_least=True,
    ),
    Row(
        "log_rate_ratio",
        "logs -f through the parent: throughput, relative to direct ones",
        "x",
        Kind.RATIO,
        Bound(0.58),
        at_least=True,
    ),
    Row("own_cpu", "own CPU per pod life (created, Running, deleted)", "ms", Kind.CPU),
    Row("own_cpu_tokens", "the same with service account tokens", "ms", Kind.CPU),
    Row("everything_cpu", "CPU of all processes per pod life, with both control planes", "ms", Kind.CPU, digits=0),
    Row("plain_cpu", "CPU of all processes per pod life in a plain cluster", "ms", Kind.CPU, digits=0),
    Row("event_cpu", "own CPU for a watch event that changes nothing", "µs", Kind.CPU, digits=0),
    Row("receive_cpu", "part of it to receive and decode the event", "µs", Kind.CPU, digits=0),
    Row("receive_bare_cpu", "the same in a plain loop", "µs", Kind.CPU, digits=0),
    Row("idle_cpu", "idle with {pods} pods", "% of a core", Kind.CPU),
    Row("stall", "longest event-loop stall with up to {pods} pods, CPU time", "ms", Kind.CPU, digits=0),
    Row("stall_wall", "longest event-loop stall, wall time", "ms", Kind.TIME, digits=0),
    Row("restart_requests", "restart with {pods} pods: requests on both sides", "", Kind.COUNT, digits=0),
    Row("restart_cpu", "restart with {pods} pods: own CPU", "s", Kind.CPU),
    Row("restart_time", "restart with {pods} pods: until synced", "s", Kind.TIME, digits=1),
    Row("burst_rate", "burst of {pods} pods", "pods/s", Kind.TIME, digits=1),
    Row("burst_p50", "burst of {pods} pods: created to Running, p50", "s", Kind.TIME, digits=1),
    Row("plain_rate", "the same burst in a plain cluster", "pods/s", Kind.TIME, digits=1),
    Row("created_p50", "bound -> created in member, p50", "ms", Kind.TIME, digits=1),
    Row("created_p99", "bound -> created in member, p99", "ms", Kind.TIME, digits=1),
    Row("running_p50", "Running in member -> Running in parent, p50", "ms", Kind.TIME, digits=1),
    Row("running_p99", "Running in member -> Running in parent, p99", "ms", Kind.TIME, digits=1),
    Row("exec_opened", "exec through the parent: time to open, p50", "ms", Kind.TIME, digits=1),
    Row("exec_overhead", "additional time compared with a direct exec in the member", "ms", Kind.TIME, digits=1),
    Row("exec_rate", "exec through the parent: throughput", "MB/s", Kind.TIME, digits=0),
    Row("exec_rate_direct", "the same directly in the member", "MB/s", Kind.TIME, digits=0),
    Row("log_rate", "logs -f through the parent: throughput", "MB/s", Kind.TIME, digits=0),
    Row("log_rate_direct", "the same directly from the member", "MB/s", Kind.TIME, digits=0),
)
