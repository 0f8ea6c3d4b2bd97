"""The output of a run: a table and JSON."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from bench.audit import Request
from bench.measurements import Measurement, Measurements, Verdict
from bench.meter import Measured

_VERDICTS: Final = {Verdict.WITHIN: "ok", Verdict.OVER: "OVER", Verdict.SHOWN: "", Verdict.UNKNOWN: "n/a"}


def show(measurements: Measurements, title: str, console: Console) -> None:
    """Prints the table."""
    table = Table(
        title=title, title_justify="left", caption="rows without a limit are only shown", caption_justify="left"
    )
    for heading in ("what", "measured", "limit", "goal", "verdict"):
        table.add_column(heading, justify="left" if heading in ("what", "verdict") else "right")
    for measurement in measurements.ordered():
        table.add_row(
            measurement.row.what.format(pods=measurement.pods),
            "n/a" if measurement.shown is None else _number(measurement, measurement.shown),
            _bound(measurement, measurement.limit),
            _bound(measurement, measurement.goal),
            _VERDICTS[measurement.verdict] + (", goal reached" if measurement.reaches_goal else ""),
            style="red" if measurement.verdict is Verdict.OVER else "",
        )
    console.print(table)


def over(measurement: Measurement) -> str:
    """One line about a measurement over its limit."""
    what = measurement.row.what.format(pods=measurement.pods)
    value, limit = _number(measurement, measurement.shown or 0.0), _bound(measurement, measurement.limit)
    return f"over its limit: {what}: {value} (limit: {limit})"


def document(
    measurements: Measurements, options: Mapping[str, Any], phases: Mapping[str, Measured], details: Mapping[str, Any]
) -> dict[str, Any]:
    """All results, in plain types. The numbers of requests are grouped by phase, cluster and user."""
    return {
        "ok": not measurements.over,
        "over": [measurement.row.key for measurement in measurements.over],
        "options": dict(options),
        "machine": {
            "cpus": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.release(),
            "python": platform.python_version(),
        },
        "measurements": {measurement.row.key: _measurement(measurement) for measurement in measurements.ordered()},
        "phases": {name: _phase(measured) for name, measured in phases.items()},
        "details": dict(details),
    }


def write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n")


def _measurement(measurement: Measurement) -> dict[str, Any]:
    return {
        "what": measurement.row.what.format(pods=measurement.pods),
        "unit": measurement.row.unit,
        "kind": measurement.row.kind.value,
        "pods": measurement.pods,
        "measured": measurement.value,
        "limit": measurement.limit,
        "goal": measurement.goal,
        "at_least": measurement.row.at_least,
        "verdict": measurement.verdict.value,
        "reaches_goal": measurement.reaches_goal,
    }


def _phase(measured: Measured) -> dict[str, Any]:
    return {
        "seconds": measured.seconds,
        "own_cpu_seconds": measured.own_cpu,
        "cluster_cpu_seconds": measured.cluster_cpu,
        "requests": {cluster: _requests(requests) for cluster, requests in sorted(measured.requests.items())},
    }


def _requests(requests: Counter[Request]) -> dict[str, dict[str, int]]:
    by_user: dict[str, dict[str, int]] = {}
    for request, count in sorted(requests.items(), key=lambda found: -found[1]):
        what = f"{request.verb} {request.resource or '(probe)'} {request.code}"
        by_user.setdefault(request.user, {})[what] = count
    return by_user


def _number(measurement: Measurement, value: float) -> str:
    return f"{value:.{measurement.row.digits}f} {measurement.row.unit}".rstrip()


def _bound(measurement: Measurement, value: float | None) -> str:
    if value is None:
        return ""
    return f"{'at least ' if measurement.row.at_least else ''}{value:.4g} {measurement.row.unit}".rstrip()
