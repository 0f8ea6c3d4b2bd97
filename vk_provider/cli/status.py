"""`vk-provider status`: the members and their health."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import click
import msgspec
from rich.console import Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from vk_provider.api.membercluster import MemberCluster
from vk_provider.api.wellknown import (
    CLUSTER_LABEL,
    CREDENTIAL,
    CREDENTIAL_EXPIRED,
    CREDENTIAL_EXPIRES_SOON,
    FROZEN,
    ORPHANS_HELD,
    PLAN,
    REACHABLE,
    READY,
    TOO_MANY_ORPHANS,
)
from vk_provider.cli import options, terminal
from vk_provider.cli.clouds import provider_id_warning
from vk_provider.cli.members import HOW_TO_JOIN, find_members, is_fresh, renew_times
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.terminal import age, listed, note, say
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Metadata
from vk_provider.kube.resources import NODES, PODS
from vk_provider.translate import quantity

_OUTDATED: Final = " (outdated: no provider renews the Lease of its node)"
_EVERY: Final = 2.0  # seconds; ages and pod counts change all the time, so --watch refreshes periodically, as `top`


# Reason of a condition -> what happens next, and what an administrator can do.
_ADVICE: Final = {
    "Suspect": "next: it gets no new pods; if it stays silent, it is lost, and its pods move as their tolerations say",
    "Frozen": "next: no pods move until enough members answer; if it is down for certain:"
    " vk-provider fence {name} --confirmed-down",
    "Lost": "next: its pods move as their tolerations say; pods of StatefulSets wait for it, or for:"
    " vk-provider fence {name} --confirmed-down",
    "Refused": "next: it gets no new pods, and no pods move; correct the cause; a new credential is applied by:"
    " vk-provider join {name} --kubeconfig FILE; if it is down for certain: vk-provider fence {name} --confirmed-down",
    "Returning": "next: pods that were replaced meanwhile are deleted there; then its node is Ready",
    "TooManyOrphans": "next: check what would be deleted there; then: vk-provider confirm {name}",
    "ClusterUidChanged": "next: if it was rebuilt: vk-provider confirm {name} --new-cluster",
}


class Pods(msgspec.Struct):
    """The number of pods of a virtual node that have not ended."""

    running: int
    total: int


class Row(msgspec.Struct, rename="camel"):
    """One member, as `-o json` shows it."""

    name: str
    node: str
    version: str
    ready: bool
    reason: str
    message: str
    pods: Pods
    allocatable: Mapping[str, str]
    created: str | None
    cluster_uid: str
    api_access: str
    served: bool = True  # a provider renews the Lease of its node: else its conditions are outdated
    leaving: bool = False
    conditions: list[Condition] = []


class _NodeStatus(msgspec.Struct):
    allocatable: dict[str, str] = {}


class _Node(msgspec.Struct):
    metadata: Metadata
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


class _PodStatus(msgspec.Struct):
    phase: str = ""


class _Pod(msgspec.Struct):
    status: _PodStatus


@click.command(short_help="Show the members.")
@click.argument("name", required=False, type=options.dns_label, metavar="[NAME]")
@click.option("-o", "--output", type=click.Choice(["table", "wide", "json"]), default="table", help="Default: table.")
@click.option("-w", "--watch", is_flag=True, help="Show it again after each change, until Ctrl-C.")
@pass_parent
def status(parent: Parent, name: str | None, output: str, watch: bool) -> None:
    """Show the members: whether they are ready, their pods (running/all) and what they offer.

    With a NAME, also explain the conditions of that member, and what you can do.
    """
    execute(_watch(parent, name, output) if watch else _once(parent, name, output))


async def _once(parent: Parent, name: str | None, output: str) -> None:
    async with parent.connect() as client:
        rows = await look(client, name)
        explained = name is not None and output != "json"
        warning = await provider_id_warning(client, rows[0].name, rows[0].node) if explained else ""
    _show(rows, output, explained=name is not None)
    if warning:
        note(warning)


async def _watch(parent: Parent, name: str | None, output: str) -> None:
    console, before = terminal.stdout(), ""
    async with parent.connect() as client:
        if console.is_terminal and output != "json":
            with Live(console=console, auto_refresh=False) as live:
                while True:
                    rows = await look(client, name)
                    shown = Group(table(rows, output == "wide"), *warnings(rows)) if rows else Text(_nothing())
                    live.update(shown, refresh=True)
                    await asyncio.sleep(_EVERY)
        while True:
            rows = await look(client, name)
            if (now := msgspec.json.encode(rows).decode()) != before:
                say(now) if output == "json" else _show(rows, output)
            before = now
            await asyncio.sleep(_EVERY)


async def look(client: Client, name: str | None) -> list[Row]:
    """The rows of all members, or of one. Raises VkError if no member has that name."""
    members = await find_members(client, name)
    if not members:
        return []
    nodes, renewed, pods = await asyncio.gather(
        client.list(NODES, type=_Node, query={"labelSelector": CLUSTER_LABEL}),
        renew_times(client),
        asyncio.gather(*(_count_pods(client, member.node_name) for member in members)),
    )
    ours = {(node.metadata.labels[CLUSTER_LABEL], node.metadata.name): node for node in nodes}
    now = client.server_time()
    return [
        row(member, ours.get((member.metadata.name, member.node_name)), counted, renewed.get(member.node_name), now)
        for member, counted in zip(members, pods, strict=True)
    ]


def row(member: MemberCluster, node: _Node | None, pods: Pods, renewed: datetime | None, now: datetime) -> Row:
    """The row of one member. Its Ready condition is valid while a provider renews the Lease of its node."""
    name, condition = member.metadata.name, member.status.condition(READY)
    ready = condition is not None and condition.status == "True"
    reason, message = (condition.reason, condition.message) if condition else ("", "")
    served, leaving = is_fresh(renewed, now), member.metadata.deletion_timestamp is not None
    if condition is None or (ready and not served):
        ready, reason, message = False, "NotServed", "no provider serves it; start one: vk-provider run"
    if leaving and (ready or reason == "NotServed"):
        ready, reason, message = False, "Leaving", f"it is being unjoined; follow it: vk-provider unjoin {name}"
    return Row(
        name=name,
        node=member.node_name,
        version=member.status.version,
        ready=ready,
        reason=reason,
        message=message,
        pods=pods,
        allocatable=node.status.allocatable if node else {},
        created=member.metadata.creation_timestamp,
        cluster_uid=member.status.cluster_uid,
        api_access=member.spec.api_access,
        served=served,
        leaving=leaving,
        conditions=member.status.conditions,
    )


async def _count_pods(client: Client, node: str) -> Pods:
    active = f"spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
    running = total = 0
    async for page in client.pages(PODS, type=_Pod, query={"fieldSelector": active, "labelSelector": f"!{PLAN}"}):
        total += len(page.items)
        running += sum(pod.status.phase == "Running" for pod in page.items)
    return Pods(running, total)


def explanation(one: Row, now: datetime) -> list[str]:
    """The conditions of one member, how long they have been true, and what an administrator can do."""
    shown = [
        f"{condition.type}={condition.status} {condition.reason}, for {age(condition.last_transition_time, now)}: "
        f"{condition.message}{'' if one.served or condition.status != 'True' else _OUTDATED}"
        for condition in one.conditions
        if condition.status != "False" or condition.type != ORPHANS_HELD
    ]
    reasons = {condition.reason for condition in one.conditions} | {one.reason}
    advice = [text.format(name=one.name) for reason, text in _ADVICE.items() if reason in reasons]
    return ["", *shown, *advice]


def warnings(rows: list[Row]) -> list[str]:
    """What waits for an administrator, and would go unnoticed in the table."""
    found = []
    if frozen := [row.name for row in rows if row.served and _has(row, REACHABLE, FROZEN)]:
        found.append(
            f"warning: losses are frozen: no pods leave {listed(frozen)} until enough members answer; "
            "if one is down for certain: vk-provider fence NAME --confirmed-down"
        )
    if held := [row.name for row in rows if _has(row, ORPHANS_HELD, TOO_MANY_ORPHANS)]:
        found.append(
            f"warning: many pods in {listed(held)} are unknown to the parent, and are kept: vk-provider status NAME"
        )
    for reason, what in ((CREDENTIAL_EXPIRES_SOON, "ends soon"), (CREDENTIAL_EXPIRED, "has ended")):
        if ending := [row.name for row in rows if _has(row, CREDENTIAL, reason)]:
            found.append(f"warning: the credential for {listed(ending)} {what}: vk-provider status NAME")
    return found


def _has(row: Row, type: str, reason: str) -> bool:
    return any(condition.type == type and condition.reason == reason for condition in row.conditions)


def _show(rows: list[Row], output: str, explained: bool = False) -> None:
    if output == "json":
        say(msgspec.json.format(msgspec.json.encode(rows), indent=2).decode())
    elif rows:
        wide = output == "wide"
        terminal.stdout(terminal.ANY_LENGTH if wide else 0).print(table(rows, wide))
        for line in explanation(rows[0], datetime.now(UTC)) if explained else warnings(rows):
            say(line)
    else:
        note(_nothing())


def _nothing() -> str:
    return f"no members; {HOW_TO_JOIN}"


def table(rows: list[Row], wide: bool) -> Table:
    """Fits 80 columns if names have 8 letters; longer names are folded on a terminal."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in ("NAME", "NODE"):
        shown.add_column(header, overflow="fold")
    shown.add_column("VERSION", no_wrap=True)
    shown.add_column("READY", overflow="fold")
    for header in ("PODS", "CPU", "MEMORY", "MAX PODS"):
        shown.add_column(header, no_wrap=True, justify="right")
    shown.add_column("AGE", no_wrap=True, justify="right")
    for header in ("CLUSTER UID", "API ACCESS", "MESSAGE") if wide else ():
        shown.add_column(header, overflow="fold")
    now = datetime.now(UTC)
    for one in rows:
        shown.add_row(*_cells(one, now), *([one.cluster_uid, one.api_access, one.message] if wide else ()))
    return shown


def _cells(one: Row, now: datetime) -> list[str | Text]:
    room = one.allocatable
    return [
        Text(one.name, style="bold"),
        one.node,
        one.version.partition("+")[0] or "-",
        Text("yes", style="green") if one.ready else Text(one.reason, style="yellow" if _waits(one) else "red"),
        f"{one.pods.running}/{one.pods.total}",
        terminal.amount(quantity.parse(room["cpu"])) if "cpu" in room else "-",
        terminal.memory(quantity.parse(room["memory"])) if "memory" in room else "-",
        room.get("pods", "-"),
        terminal.age(one.created, now),
    ]


def _waits(one: Row) -> bool:
    return one.reason in ("NotServed", "Leaving")
