"""`vk-provider plan-failover`: what would happen to the pods of a member if it were lost."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections import Counter
from collections.abc import Sequence
from typing import Final

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from vk_provider.cli import options, terminal
from vk_provider.cli.members import find_member
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.terminal import bar, note, say
from vk_provider.errors import counted
from vk_provider.kube.client import Client
from vk_provider.kube.resources import PODS
from vk_provider.sync.nodes.plan import SchedulerQuery
from vk_provider.translate.nodes.plan import (
    Outcome,
    Plan,
    Planned,
    Verdict,
    eviction_seconds,
    final_verdict,
    is_affected,
    reservations,
    verdict_without_scheduler,
)

NOT_ALL_REPLACED: Final = 3  # exit code
_OTHER_COLUMNS: Final = 54  # columns that the rest of the table needs at least
_FINE: Final = (Outcome.MOVES, Outcome.STAYS)
_STYLES: Final[dict[Outcome, str]] = {
    Outcome.MOVES: "green",
    Outcome.WAITS: "yellow",
    Outcome.UNKNOWN: "yellow",
    Outcome.CANNOT: "red",
    Outcome.REFUSED: "red",
    Outcome.ENDS: "red",
}


class Row(msgspec.Struct, rename="camel"):
    """One pod, as `-o json` shows it. `evicted_after` is in seconds; None: never."""

    namespace: str
    name: str
    controller: str
    outcome: Outcome
    node: str
    evicted_after: int | None
    message: str
    reservations: list[str]


class Result(msgspec.Struct):
    """The whole plan."""

    name: str
    node: str
    pods: list[Row]


@click.command("plan-failover", short_help="Show where a member's pods would go if it were lost.")
@click.argument("name", type=options.dns_label, metavar="NAME")
@options.timeout(120, "How long to wait for the scheduler.")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", help="Default: table.")
@pass_parent
def plan_failover(parent: Parent, name: str, timeout: float, output: str) -> None:
    """Show where the pods of a member would go if it were lost now, and which pods no node has room for.

    The command asks the parent's own scheduler, with a shadow of each pod that never runs. The shadows reserve room for
    some seconds, and are deleted before the command ends. Exit code 3: some pods would not be replaced automatically.
    """
    try:
        result = execute(_plan(parent, name, timeout))
    except asyncio.CancelledError:
        raise click.Abort from None
    if output == "json":
        say(msgspec.json.format(msgspec.json.encode(result), indent=2).decode())
    elif result.pods:
        console(result.pods).print(table(result.pods))
        say(summary(result.pods))
    else:
        note(f"no pods on {result.node} that its loss would affect")
    if any(row.outcome not in _FINE for row in result.pods):
        raise click.exceptions.Exit(NOT_ALL_REPLACED)


async def _plan(parent: Parent, name: str, seconds: float) -> Result:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):  # as SIGINT: the shadows have to be deleted
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async with parent.connect() as client:
        node = (await find_member(client, name)).node_name
        found = await client.list(PODS, type=Planned, query={"fieldSelector": f"spec.nodeName={node}"})
        pods = sorted(filter(is_affected, found), key=lambda pod: (pod.metadata.namespace, pod.metadata.name))
        return Result(name, node, await _rows(client, Plan(secrets.token_hex(4), node), pods, seconds))


async def _rows(client: Client, plan: Plan, pods: Sequence[Planned], seconds: float) -> list[Row]:
    verdicts = {pod.metadata.uid: verdict for pod in pods if (verdict := verdict_without_scheduler(pod)) is not None}
    open_ = [pod for pod in pods if pod.metadata.uid not in verdicts]
    if not open_:
        return [_row(pod, verdicts[pod.metadata.uid], []) for pod in pods]
    with bar(f"asking the parent's scheduler about {counted(len(open_), 'pod')}", len(open_)) as show:
        query = SchedulerQuery(client, plan, open_, progress=show)
        await query.ask(seconds)
    rows = []
    for pod in pods:
        uid = pod.metadata.uid
        verdict = verdicts.get(uid) or final_verdict(pod, query.verdicts[uid])
        rows.append(_row(pod, verdict, reservations(pod, query.shadows.get(uid), verdict)))
    return rows


def _row(pod: Planned, verdict: Verdict, reservations: list[str]) -> Row:
    controller = pod.controller
    return Row(
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        controller=f"{controller.kind} {controller.name}" if controller else "",
        outcome=verdict.outcome,
        node=verdict.node,
        evicted_after=None if verdict.outcome is Outcome.STAYS else eviction_seconds(pod),
        message=verdict.message,
        reservations=reservations,
    )


def console(rows: Sequence[Row]) -> Console:
    """Wide enough that no name is broken."""
    return terminal.stdout(max(len(f"{row.namespace}/{row.name}") for row in rows) + _OTHER_COLUMNS)


def table(rows: Sequence[Row]) -> Table:
    """AFTER is how long a pod stays once its node is not ready. Pods that need attention are last, near the summary."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("POD", no_wrap=True)
    shown.add_column("AFTER", no_wrap=True, justify="right")
    shown.add_column("OUTCOME", no_wrap=True)
    shown.add_column("NODE", overflow="fold")
    shown.add_column("WHY", overflow="fold")
    for row in sorted(rows, key=lambda row: row.outcome not in _FINE):
        shown.add_row(
            f"{row.namespace}/{row.name}",
            "-" if row.evicted_after is None else f"{row.evicted_after}s",
            Text(row.outcome, style=_STYLES.get(row.outcome, "")),
            row.node or "-",
            "; ".join(filter(None, [row.message, *row.reservations])),
        )
    return shown


def summary(rows: Sequence[Row]) -> str:
    """The number of pods by outcome, and of those that move by node."""
    places = Counter(row.node for row in rows if row.outcome is Outcome.MOVES)
    where = ", ".join(f"{number} to {node}" for node, number in sorted(places.items()))
    parts = [f"{sum(places.values())} of {counted(len(rows), 'pod')} would move" + (f" ({where})" if where else "")]
    others: Counter[Outcome] = Counter(row.outcome for row in rows if row.outcome is not Outcome.MOVES)
    return "; ".join(parts + [f"{others[outcome]} {outcome}" for outcome in Outcome if others[outcome]])
