"""The table for people and the JSON for programs."""

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
from bench.figures import Figure, Figures, Verdict
from bench.meter import Measured

_VERDICTS: Final = {Verdict.WITHIN: "ok", Verdict.OVER: "OVER", Verdict.SHOWN: "", Verdict.UNKNOWN: "n/a"}


def show(figures: Figures, title: str, console: Console) -> None:
    """Prints the table."""
    table = Table(
        title=title, title_justify="left", caption="rows without a limit decide nothing", caption_justify="left"
    )
    for heading in ("what", "measured", "limit", "goal", "verdict"):
        table.add_column(heading, justify="left" if heading in ("what", "verdict") else "right")
    for figure in figures.ordered():
        table.add_row(
            figure.row.what.format(pods=figure.pods),
            "n/a" if figure.shown is None else _number(figure, figure.shown),
            _bound(figure, figure.limit),
            _bound(figure, figure.goal),
            _VERDICTS[figure.verdict] + (", goal reached" if figure.reaches_goal else ""),
            style="red" if figure.verdict is Verdict.OVER else "",
        )
    console.print(table)


def over(figure: Figure) -> str:
    """One line about a figure that is past its limit."""
    what = figure.row.what.format(pods=figure.pods)
    return f"past its limit: {what}: {_number(figure, figure.shown or 0.0)} (limit: {_bound(figure, figure.limit)})"


def document(
    figures: Figures, options: Mapping[str, Any], phases: Mapping[str, Measured], details: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that is known, in plain types. Requests: by phase, cluster and user, how often each was made."""
    return {
        "ok": not figures.over,
        "over": [figure.row.key for figure in figures.over],
        "options": dict(options),
        "machine": {
            "cpus": os.cpu_count(),
            "architecture": platform.machine(),
            "system": platform.release(),
            "python": platform.python_version(),
        },
        "figures": {figure.row.key: _figure(figure) for figure in figures.ordered()},
        "phases": {name: _phase(measured) for name, measured in phases.items()},
        "details": dict(details),
    }


def write(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n")


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "what": figure.row.what.format(pods=figure.pods),
        "unit": figure.row.unit,
        "kind": figure.row.kind.value,
        "pods": figure.pods,
        "measured": figure.value,
        "limit": figure.limit,
        "goal": figure.goal,
        "at_least": figure.row.at_least,
        "verdict": figure.verdict.value,
        "reaches_goal": figure.reaches_goal,
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


def _number(figure: Figure, value: float) -> str:
    return f"{value:.{figure.row.digits}f} {figure.row.unit}".rstrip()


def _bound(figure: Figure, value: float | None) -> str:
    if value is None:
        return ""
    return f"{'at least ' if figure.row.at_least else ''}{value:.4g} {figure.row.unit}".rstrip()
