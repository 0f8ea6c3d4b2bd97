"""A pytest plugin: a long run ends with a table of the time per module and phase, across all workers."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Final

import pytest

_LONG: Final = 60.0  # seconds: a shorter run shows no table
_ROWS: Final = 20
_PHASES: Final = ("setup", "call", "teardown")


@dataclass
class Module:
    """The seconds of its tests per phase. Set-up and tear-down include the fixtures that start or end there."""

    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    tests: int = 0
    first: float = float("inf")
    last: float = 0.0
    workers: set[str] = field(default_factory=set)

    @property
    def total(self) -> float:
        return sum(self.seconds.values())

    def add(self, report: pytest.TestReport, worker: str, begin: float) -> None:
        self.seconds[report.when or ""] += report.duration
        self.tests += report.when == "call"
        self.first = min(self.first, report.start - begin)
        self.last = max(self.last, report.stop - begin)
        self.workers.add(worker)

    def row(self, name: str) -> str:
        phases = "".join(f"{self.seconds[phase]:9.1f}" for phase in _PHASES)
        workers = ",".join(sorted(self.workers))
        return f"{phases}{self.total:9.1f}{self.tests:7}{self.first:8.0f} -{self.last:5.0f}  {workers:8} {name}"


class Timetable:
    """Collects every report of the run. Runs in the controlling process, not in the workers."""

    def __init__(self) -> None:
        self._begin = time.time()
        self._reports: list[tuple[pytest.TestReport, str]] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append((report, getattr(report, "worker_id", "") or "main"))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        took = time.time() - self._begin
        if took < _LONG:
            return
        modules: defaultdict[str, Module] = defaultdict(Module)
        workers: defaultdict[str, Module] = defaultdict(Module)
        for report, worker in self._reports:
            modules[report.nodeid.partition("::")[0]].add(report, worker, self._begin)
            workers[worker].add(report, worker, self._begin)
        terminalreporter.section(f"durations, {took:.0f} s in total")
        line = terminalreporter.write_line
        line("   set-up     call tear-dn.    total  tests     from - to  by       module (seconds)")
        ranked = sorted(modules.items(), key=lambda item: -item[1].total)
        for name, module in ranked[:_ROWS]:
            line(module.row(name))
        rest = [module for _, module in ranked[_ROWS:]]
        if rest:
            line(f"{'':27}{sum(one.total for one in rest):9.1f}{sum(one.tests for one in rest):7}   {len(rest)} others")
        for _, busy in sorted(workers.items()):
            line(busy.row("all modules"))
        slowest = sorted(self._reports, key=lambda item: -item[0].duration)
        line("the slowest phases of tests (seconds)")
        for report, _ in slowest[:_ROWS]:
            line(f"{report.duration:9.1f}  {report.when:8}  {report.nodeid}")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # reports of the workers of pytest-xdist arrive here, too
        config.pluginmanager.register(Timetable(), "timetable")
