"""Compares this checkout with another one: `make bench-compare BASE=REF`, `python -m bench.compare REF`.

The bench of this checkout starts both providers with the same command and measures them alternately, so that both run
under the same conditions. The base is a git worktree in a temporary directory, which is removed at the end. Both use
the packages of this checkout's virtual environment.

Status 0: no compared median is more than 10 % above that of the base; 1: one is; 2: wrong usage; 3: not measured.
"""

from __future__ import annotations

import json
import shlex
import signal
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
from rich.console import Console
from rich.table import Table

from bench.budget import ROWS
from bench.cli import OVER, SHORT_PODS, WIDTH, execute, screen
from bench.errors import BenchError

COMPARED: Final = (
    "own_cpu_share",
    "parent_requests",
    "member_requests",
    "parent_requests_slow",
    "member_requests_slow",
    "memory_before",
    "memory_pods",
)
"""Keys of rows. A lower value is better in all of them."""
NOT_JUDGED: Final = frozenset({"parent_requests"})
"""The number of pods in a burst that need an extra status write depends on the speed of the machine."""
TOLERATED: Final = 10.0  # per cent
_WORSE: Final = 1
_CHECKOUT: Final = Path(__file__).resolve().parents[2]
_SERVE: Final = (
    'cd {checkout} && {python} -m vk_provider join "$NODE_NAME" --kubeconfig "$MEMBER_KUBECONFIG" --no-wait'
    " && exec {python} -m vk_provider run"
)

Values = dict[str, float]


@dataclass(frozen=True)
class Comparison:
    """One row, with the values of all rounds on both sides."""

    key: str
    base: list[float]
    here: list[float]

    @property
    def difference(self) -> float:
        """By how many per cent the median of this checkout is above that of the base."""
        before, after = statistics.median(self.base), statistics.median(self.here)
        if before == after:
            return 0.0
        return (after - before) / before * 100 if before else float("inf")

    @property
    def worse(self) -> bool:
        return self.difference > TOLERATED and self.key not in NOT_JUDGED


def compared(base: list[Values], here: list[Values]) -> list[Comparison]:
    """One comparison for each row, from the values of all rounds."""
    return [Comparison(key, [values[key] for values in base], [values[key] for values in here]) for key in COMPARED]


def show(found: list[Comparison], base: str, console: Console) -> None:
    """Prints medians, the values of the rounds in brackets, and differences."""
    rows = {row.key: row for row in ROWS}
    table = Table("what", base, "here", "difference", "verdict")
    for comparison in found:
        row = rows[comparison.key]
        digits = row.digits + 1
        cells = [
            f"{statistics.median(values):.{digits}f} {row.unit}".rstrip()
            + f" ({', '.join(f'{value:.{digits}f}' for value in values)})"
            for values in (comparison.base, comparison.here)
        ]
        what = row.what.format(pods=SHORT_PODS)
        verdict = "WORSE" if comparison.worse else "shown" if comparison.key in NOT_JUDGED else "ok"
        table.add_row(what, *cells, f"{comparison.difference:+.1f} %", verdict)
    console.print(table)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("base", metavar="REF")
@click.option("--rounds", type=click.IntRange(min=1), default=3, metavar="N", help="Runs of each side. Default: 3.")
def cli(base: str, rounds: int) -> None:
    """Measure this checkout and the commit REF in turn, and compare the medians."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM removes worktree and clusters
    found: dict[Path, list[Values]] = {}
    with TemporaryDirectory(prefix="bench-compare-") as directory, _worktree(base, Path(directory) / "base") as other:
        for number in range(rounds):
            for checkout in (other, _CHECKOUT):
                screen.print(f"run {number + 1} of {rounds}: {base if checkout is other else 'this checkout'}")
                found.setdefault(checkout, []).append(_measure(checkout, Path(directory) / "bench.json"))
        comparisons = compared(found[other], found[_CHECKOUT])
    show(comparisons, base, Console(width=None if sys.stdout.isatty() else WIDTH))
    sys.exit(_WORSE if any(comparison.worse for comparison in comparisons) else 0)


@contextmanager
def _worktree(ref: str, directory: Path) -> Iterator[Path]:
    """A checkout of the commit, removed at the end of the block."""
    git = ["git", "-C", str(_CHECKOUT), "worktree"]
    added = subprocess.run([*git, "add", "--quiet", "--detach", str(directory), ref], capture_output=True, text=True)
    if added.returncode:
        raise click.BadParameter(added.stderr.strip(), param_hint="REF")
    try:
        yield directory
    finally:
        subprocess.run([*git, "remove", "--force", str(directory)], check=True)


def _measure(checkout: Path, file: Path) -> Values:
    """One short run with the provider of a checkout. Raises BenchError if it fails."""
    serve = _SERVE.format(checkout=shlex.quote(str(checkout)), python=shlex.quote(sys.executable))
    options = ["--short", "--no-execs", "--json", str(file), "--provider-cmd", shlex.join(["sh", "-c", serve])]
    command = [sys.executable, "-m", "bench", *options]
    with subprocess.Popen(command, cwd=_CHECKOUT, stdout=subprocess.DEVNULL) as bench:
        try:
            status = bench.wait()
        except BaseException:
            bench.terminate()  # it removes its clusters
            bench.wait()
            raise
    if status not in (0, OVER):  # a value over a limit is a measurement, too
        raise BenchError(f"the bench ends with status {status}")
    measurements = json.loads(file.read_text())["measurements"]
    return {key: measurements[key]["measured"] for key in COMPARED}


def main(arguments: list[str] | None = None) -> None:
    """Runs the command. An error of the measurement is printed as one line, with status 3."""
    execute(cli, arguments, "make bench-compare")


if __name__ == "__main__":
    main()
