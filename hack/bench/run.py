"""The whole run: the program between a parent and a member, a plain cluster in turn, then execs and logs."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Final

from localkube import ClusterInfo
from rich.console import Console

from bench import burst, clusters, streams
from bench.clusters import CONTAINERS, MEMBER, PARENT, PLAIN, USER, fake
from bench.load import Watcher
from bench.meter import Meter
from bench.plain import PlainCluster
from bench.program import Program
from bench.scenario import Found, Say, Scenario, Sizes
from bench.streams import Streams
from vk_provider.kube.client import Client

_HACK: Final = Path(__file__).resolve().parents[1]


def options(sizes: Sizes) -> dict[str, Any]:
    """The sizes in plain types."""
    return asdict(sizes)


def measure(sizes: Sizes, command: list[str] | None, *, execs: bool, keep: bool, screen: Console) -> Found:
    """Runs all measurements. `command` None: this provider; `keep`: leave the clusters running.

    Raises BenchError, LocalkubeError and VkError if a measurement is impossible.
    """
    say = partial(_say, screen)
    with clusters.clusters([PARENT, fake(MEMBER, sizes.most), fake(PLAIN, sizes.pods)], keep=keep) as made:
        found = asyncio.run(_serve(made[PARENT], made[MEMBER], made[PLAIN], sizes, command, say))
    if execs and os.geteuid() == 0:
        with clusters.clusters([PARENT, f"{CONTAINERS}:real"], keep=keep) as made:
            add_streams(found, asyncio.run(_stream(made[PARENT], made[CONTAINERS], sizes.stream, command, say)))
    elif execs:
        screen.print("execs and logs need containers, which need root: not measured", style="yellow")
    return found


async def _serve(
    parent: ClusterInfo, member: ClusterInfo, plain: ClusterInfo, sizes: Sizes, command: list[str] | None, say: Say
) -> Found:
    """Measures the program under test between a parent and a member, from its start to its end."""
    infos = (parent, member, plain)
    async with AsyncExitStack() as stack:
        here, there, other = [await stack.enter_async_context(clusters.client(info)) for info in infos]
        program = await _program(parent, member, here, there, command)
        await burst.prepare(here)
        watchers = [await stack.enter_async_context(Watcher(client)) for client in (here, there, other)]
        scenario = Scenario(
            program,
            Meter([parent, member], None, program, USER),
            (here, watchers[0]),
            (there, watchers[1]),
            PlainCluster(plain, other, watchers[2]),
            node=member.name,
            sizes=sizes,
            ours=command is None,
            member_kubeconfig=clusters.user_kubeconfig(member),
            say=say,
        )
        try:
            await program.start()
            await program.during(scenario.run())
        finally:
            await program.stop()
    return scenario.found


async def _stream(
    parent: ClusterInfo, member: ClusterInfo, samples: int, command: list[str] | None, say: Say
) -> Streams:
    """Measures execs and logs, with the program under test between a parent and a member with containers."""
    async with clusters.client(parent) as here, clusters.client(member) as there:
        program = await _program(parent, member, here, there, command)
        try:
            await program.start()
            with say("execs and logs through the parent and directly"):
                await clusters.until_ready(here, member.name)
                kubeconfigs, meter = (parent.kubeconfig, member.kubeconfig), Meter([member], None, program, USER)
                return await program.during(streams.run(here, there, kubeconfigs, member.name, meter, samples))
        finally:
            await program.stop()


async def _program(
    parent: ClusterInfo, member: ClusterInfo, here: Client, there: Client, command: list[str] | None
) -> Program:
    """The program under test before its start, with its own user in both clusters. For this provider, joins the member
    first.
    """
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


def add_streams(found: Found, measured: Streams) -> None:
    """Adds the rows of execs and logs."""
    add = found.measurements.add
    least, least_directly = measured.opened.least()
    opened, opened_directly = measured.opened.median()
    rate, direct = measured.rate.most()
    log_rate, log_direct = measured.log_rate.most()
    add("exec_opened_cpu_ratio", measured.opened.cpu_ratio)
    add("exec_rate_cpu_ratio", measured.rate.cpu_ratio)
    add("log_rate_cpu_ratio", measured.log_rate.cpu_ratio)
    add("exec_opened_ratio", least / least_directly)
    add("exec_rate_ratio", rate / direct)
    add("log_rate_ratio", log_rate / log_direct)
    add("exec_opened", opened * 1000)
    add("exec_overhead", (opened - opened_directly) * 1000)
    add("exec_rate", rate)
    add("exec_rate_direct", direct)
    add("log_rate", log_rate)
    add("log_rate_direct", log_direct)
    add("exec_memory", measured.memory, streams.IDLE)
    found.details["streams"] = asdict(measured)


@contextmanager
def _say(screen: Console, what: str) -> Iterator[None]:
    """Shows the current step, and how long it took."""
    began = time.monotonic()
    with screen.status(what):
        yield
    screen.print(f"[green]✔[/] {what} [dim]{time.monotonic() - began:.1f} s[/]")
