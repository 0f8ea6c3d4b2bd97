"""The command line of `make bench`: status 0 within budget, 1 over, 2 wrong usage, 3 nothing could be measured."""

from __future__ import annotations

import asyncio
import os
import shlex
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click
from localkube import ClusterInfo, LocalkubeError
from rich.console import Console

from bench import burst, clusters, plain, report, streams
from bench.budget import Kind
from bench.clusters import CONTAINERS, MEMBER, PARENT, PLAIN, USER, fake
from bench.errors import BenchError
from bench.load import Watcher
from bench.meter import Meter
from bench.plain import Plain
from bench.program import Program
from bench.scenario import Found, Scenario, Sizes
from bench.streams import Streams
from vk_provider.errors import VkError
from vk_provider.kube.client import Client

_OVER, _NOT_MEASURED, _INTERRUPTED = 1, 3, 130
_HACK: Final = Path(__file__).resolve().parents[1]

_screen = Console(stderr=True, highlight=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--pods", type=click.IntRange(min=1), metavar="N", help="Pods of the burst. Default: 500 (short: 200).")
@click.option(
    "--large", type=click.IntRange(min=0), metavar="N", help="Pods at once, at most. Default: 5000 (short: 0)."
)
@click.option("--idle", type=click.FloatRange(min=1), metavar="SECONDS", help="Default: 60 (short: 10).")
@click.option("--short", is_flag=True, help="The form for CI: smaller, without tokens; only counts decide.")
@click.option("--tokens", is_flag=True, help="With --short: also a burst of pods with service account tokens.")
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
    file: Path | None,
    provider_cmd: str | None,
    keep: bool,
) -> None:
    """What serving a member costs, against its budget: CPU, memory and requests; seconds are shown beside them.

    Starts a parent, a member with fake nodes and a plain cluster, puts one burst of pods on both, and takes everything
    down again. Status 0: within budget; 1: over; 3: could not be measured.
    """
    sizes = Sizes(
        pods=pods or (200 if short else 500),
        large=(0 if short else 5000) if large is None else large,
        stream=25 if short else 100,
        idle=idle or (10.0 if short else 60.0),
        tokens=tokens or not short,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # also then everything is taken down
    began = time.monotonic()
    found = _measure(sizes, shlex.split(provider_cmd) if provider_cmd else None, keep)
    title = f"{provider_cmd or 'vk-provider'}: {sizes.pods} pods ({time.monotonic() - began:.0f} s)"
    report.show(found.figures, title, Console(width=None if sys.stdout.isatty() else 140))
    if file:
        options = asdict(sizes) | {"short": short, "provider_cmd": provider_cmd}
        report.write(file, report.document(found.figures, options, found.phases, found.details))
    # So few pods on a machine shared with others tell too little of CPU and memory; counts are exact anywhere.
    decisive = [figure for figure in found.figures.failing if not short or figure.row.kind is Kind.COUNT]
    sys.exit(_OVER if decisive else 0)


def _measure(sizes: Sizes, command: list[str] | None, keep: bool) -> Found:
    """Both worlds, one after the other, so that neither takes CPU from the other."""
    with clusters.clusters([fake(PLAIN, sizes.pods)], keep=keep) as made, _say(f"{sizes.pods} pods in a plain cluster"):
        reference = asyncio.run(plain.run(made[PLAIN], sizes.pods))
    with clusters.clusters([PARENT, fake(MEMBER, sizes.most)], keep=keep) as made:
        found = asyncio.run(_serve(made[PARENT], made[MEMBER], sizes, command))
    _compare(found, reference, sizes.pods)
    if os.geteuid() == 0:
        with clusters.clusters([PARENT, f"{CONTAINERS}:real"], keep=keep) as made:
            _add_streams(found, asyncio.run(_stream(made[PARENT], made[CONTAINERS], sizes.stream, command)))
    else:
        _screen.print("execs need containers, and so root: not measured", style="yellow")
    return found


async def _stream(parent: ClusterInfo, member: ClusterInfo, samples: int, command: list[str] | None) -> Streams:
    """Execs, with the program under test between a parent and a member that has containers."""
    async with clusters.client(parent) as here, clusters.client(member) as there:
        program = await _program(parent, member, here, there, command)
        try:
            await program.start()
            with _say("execs through the parent and directly"):
                await clusters.until_ready(here, member.name)
                kubeconfigs = parent.kubeconfig, member.kubeconfig
                return await program.during(streams.run(here, there, kubeconfigs, member.name, program, samples))
        finally:
            await program.stop()


def _add_streams(found: Found, measured: Streams) -> None:
    add = found.figures.add
    add("exec_opened", measured.opened[0] * 1000)
    add("exec_overhead", (measured.opened[0] - measured.opened[1]) * 1000)
    add("exec_rate", measured.rate[0])
    add("exec_rate_direct", measured.rate[1])
    add("exec_share", measured.share)
    add("log_rate", measured.log_rate[0])
    add("log_rate_direct", measured.log_rate[1])
    add("exec_memory", measured.memory, streams.IDLE)


async def _serve(parent: ClusterInfo, member: ClusterInfo, sizes: Sizes, command: list[str] | None) -> Found:
    """A parent and a member with the program under test between them, from its start to its end."""
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(clusters.client(info)) for info in (parent, member)]
        program = await _program(parent, member, here, there, command)
        await burst.prepare(here)
        watchers = [await stack.enter_async_context(Watcher(client)) for client in (here, there)]
        meter = Meter([parent, member], None, program, USER)
        scenario = Scenario(
            program,
            meter,
            (here, watchers[0]),
            (there, watchers[1]),
            node=member.name,
            sizes=sizes,
            ours=command is None,
            member_kubeconfig=clusters.user_kubeconfig(member),
            say=_say,
        )
        try:
            await program.start()
            await program.during(scenario.run())
        finally:
            await program.stop()
    return scenario.found


async def _program(
    parent: ClusterInfo, member: ClusterInfo, here: Client, there: Client, command: list[str] | None
) -> Program:
    """The program under test, not yet started, with a user of its own in both clusters; ours has the member joined."""
    parent_kubeconfig = await clusters.give_user(here, parent)
    member_kubeconfig = await clusters.give_user(there, member)
    if command is None:
        await clusters.join(parent, member_kubeconfig, member.name)
    environment = {
        "KUBECONFIG": str(parent_kubeconfig),
        "MEMBER_KUBECONFIG": str(member_kubeconfig),
        "NODE_NAME": member.name,
        "PYTHONPATH": str(_HACK),
    }
    stall_file = parent.directory / "stalls.json" if command is None else None
    ours = [sys.executable, "-m", "bench.launcher", str(stall_file)]
    return Program(command or ours, environment, parent.directory / "program.log", stall_file)


def _compare(found: Found, reference: Plain, pods: int) -> None:
    figures = {figure.row.key: figure for figure in found.figures.ordered()}
    everything = figures["everything_cpu"].value or 0.0
    found.figures.add("plain_cpu", reference.life * 1000, pods)
    found.figures.add("plain_rate", reference.burst.rate, pods)
    found.figures.add("everything_ratio", everything / 1000 / reference.life, pods)
    found.phases |= reference.phases


@contextmanager
def _say(what: str) -> Iterator[None]:
    """Shows what is under way, and how long it took."""
    began = time.monotonic()
    with _screen.status(what):
        yield
    _screen.print(f"[green]✔[/] {what} [dim]{time.monotonic() - began:.1f} s[/]")


def main(arguments: list[str] | None = None) -> None:
    """Runs the command; what cannot be measured is one line and status 3."""
    try:
        cli.main(arguments, prog_name="make bench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        _screen.print("interrupted; what was started has been taken down", style="red")
        sys.exit(_INTERRUPTED)
    except Exception as error:
        cause = _cause(error)
        if not isinstance(cause, BenchError | LocalkubeError | VkError):
            raise  # a defect keeps its traceback
        _screen.print(f"could not measure: {cause}", style="red", soft_wrap=True, markup=False)
        sys.exit(_NOT_MEASURED)


def _cause(error: BaseException) -> BaseException:
    """The first error within nested groups: TaskGroups wrap what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
