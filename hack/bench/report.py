"""The table for people and the JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.audit import Request
from bench.figures import Figure, Figures
from bench.meter import Measured

_VERDICTS = {(False, False): "", (True, False): "over (decides nothing)", (True, True): "OVER"}


def show(figures: Figures, title: str, console: Console) -> None:
    table = Table(title=title, title_justify="left")
    for heading in ("what", "measured", "budget", "ratio", ""):
        table.add_column(heading, justify="left" if heading in ("what", "") else "right")
    for figure in figures.ordered():
        table.add_row(
            figure.row.what.format(pods=figure.pods),
            "n/a" if figure.shown is None else _number(figure.shown, figure),
            _budget(figure),
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            _VERDICTS[figure.over, figure.fails],
            style="red" if figure.fails else "yellow" if figure.over else "",
        )
    console.print(table)


def document(
    figures: Figures, options: Mapping[str, Any], phases: Mapping[str, Measured], details: Mapping[str, Any]
) -> dict[str, Any]:
    """Everything that is known, in plain types. Of the requests: per phase, cluster and user, what was asked."""
    return {
        "ok": not figures.failing,
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
        "budget": figure.budget,
        "at_least": figure.row.at_least,
        "ratio": figure.ratio,
        "over": figure.over,
        "fails": figure.fails,
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


def _number(value: float, figure: Figure) -> str:
    return f"{value:.{figure.row.digits}f} {figure.row.unit}".rstrip()


def _budget(figure: Figure) -> str:
    if figure.budget is None:
        return ""
    return f"{'at least ' if figure.row.at_least else ''}{figure.budget:.4g} {figure.row.unit}".rstrip()
