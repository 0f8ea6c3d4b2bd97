"""The command line of `make bench`: status 0: within all limits; 1: over a limit; 2: wrong usage; 3: not measured."""

from __future__ import annotations

import shlex
import signal
import sys
import time
from pathlib import Path
from typing import Final

import click
from localkube import LocalkubeError
from rich.console import Console

from bench import report, run
from bench.errors import BenchError
from bench.scenario import Sizes
from vk_provider.errors import VkError

OVER: Final = 1
_NOT_MEASURED, _INTERRUPTED = 3, 130
SHORT_PODS: Final = 200
WIDTH: Final = 140  # characters of the table if the output is no terminal

screen = Console(stderr=True, highlight=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--pods", type=click.IntRange(min=1), metavar="N", help=f"Pods of the burst. Default: 500 (short: {SHORT_PODS})."
)
@click.option(
    "--large", type=click.IntRange(min=0), metavar="N", help="Largest number of pods. Default: 5000 (short: 0)."
)
@click.option("--idle", type=click.FloatRange(min=1), metavar="SECONDS", help="Default: 60 (short: 10).")
@click.option("--short", is_flag=True, help="A shorter run for CI: fewer pods, no tokens.")
@click.option("--tokens", is_flag=True, help="With --short: add a burst of pods with service account tokens.")
@click.option("--no-execs", is_flag=True, help="Skip execs and logs, which need a node with containers.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write JSON.")
@click.option(
    "--provider-cmd",
    metavar="CMD",
    help="Measure another provider: a command that finds the parent in KUBECONFIG, the member in MEMBER_KUBECONFIG, and"
    " the name that its virtual node must have in NODE_NAME. Default: this provider.",
)
@click.option("--keep", is_flag=True, help="Leave the clusters running.")
def cli(
    pods: int | None,
    large: int | None,
    idle: float | None,
    short: bool,
    tokens: bool,
    no_execs: bool,
    file: Path | None,
    provider_cmd: str | None,
    keep: bool,
) -> None:
    """Measure what it costs to serve a member: CPU, memory, requests and time. Counts, bytes and ratios have limits.

    Starts a parent, a member with fake nodes and a plain cluster, runs the same burst of pods on both, and removes
    the clusters. Status 0: within all limits; 1: over a limit; 3: not measured.
    """
    sizes = Sizes(
        pods=pods or (SHORT_PODS if short else 500),
        large=(0 if short else 5000) if large is None else large,
        stream=25 if short else 100,
        idle=idle or (10.0 if short else 60.0),
        tokens=tokens or not short,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM removes the clusters
    began = time.monotonic()
    command = shlex.split(provider_cmd) if provider_cmd else None
    found = run.measure(sizes, command, execs=not no_execs, keep=keep, screen=screen)
    title = f"{provider_cmd or 'vk-provider'}: {sizes.pods} pods ({time.monotonic() - began:.0f} s)"
    report.show(found.measurements, title, Console(width=None if sys.stdout.isatty() else WIDTH))
    if file:
        options = run.options(sizes) | {"short": short, "provider_cmd": provider_cmd}
        report.write(file, report.document(found.measurements, options, found.phases, found.details))
    for measurement in found.measurements.over:
        screen.print(report.over(measurement), style="red", soft_wrap=True, markup=False)
    sys.exit(OVER if found.measurements.over else 0)


def execute(command: click.Command, arguments: list[str] | None, name: str) -> None:
    """Runs a command of the bench. An error of the measurement is printed as one line, with status 3."""
    try:
        command.main(arguments, prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        screen.print("interrupted; the clusters are removed", style="red")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        cause = _cause(error)
        if not isinstance(cause, BenchError | LocalkubeError | VkError):
            raise  # a defect: show the traceback
        screen.print(f"could not measure: {cause}", style="red", soft_wrap=True, markup=False)
        sys.exit(_NOT_MEASURED)


def main(arguments: list[str] | None = None) -> None:
    """`make bench`."""
    execute(cli, arguments, "make bench")


def _cause(error: BaseException) -> BaseException:
    """The first error in nested exception groups: TaskGroups wrap errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
