"""`vk-provider explain`: why a pod is where it is, what it waits for, and what happened to it in both clusters."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

import click
import msgspec
from rich.table import Table

from vk_provider.api.membercluster import MemberCluster
from vk_provider.cli import terminal
from vk_provider.cli.explanation import PARENT, Explanation, Moment, Seen, explained
from vk_provider.cli.members import list_members, read_kubeconfig
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.render import rendered
from vk_provider.cli.terminal import age, note, progress, say
from vk_provider.errors import ForbiddenError, NotFoundError, VkError, counted
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Node, PartialObject, Pod, encode, fields
from vk_provider.kube.resources import EVENTS, NAMESPACES, NODES, PODS
from vk_provider.sync.pods.events import MemberEvent
from vk_provider.translate.names import Names
from vk_provider.translate.pods.differences import Difference
from vk_provider.translate.pods.pod import Target

_OTHER_COLUMNS: Final = 50  # columns that the history needs at least, without the names of clusters


@click.command(short_help="Explain where a pod is, and what it waits for.")
@click.argument("pod", metavar="pod/NAME")
@click.option("-n", "--namespace", default="default", metavar="NAME", help="Namespace of the pod. Default: default.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Default: text.")
@pass_parent
def explain(parent: Parent, pod: str, namespace: str, output: str) -> None:
    """Explain a pod of the parent: why it is where it is, what it waits for, what is different in the member, and what
    happened in both clusters, in order of time.

    The command asks the parent, and with the kubeconfig of the MemberCluster the member. It changes nothing.
    """
    kind, slash, name = pod.rpartition("/")
    if not name or (slash and kind not in ("pod", "pods", "po")):
        raise click.BadParameter(f"{pod!r}: give pod/NAME", param_hint="pod/NAME")
    found, now = execute(_explain(parent, name, namespace))
    if output == "json":
        say(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    for line in text(found):
        say(line)
    if found.history:
        terminal.stdout(_OTHER_COLUMNS + len(found.member)).print(history(found.history, now))
    for warning in found.warnings:
        note(f"warning: {warning}")


async def _explain(parent: Parent, name: str, namespace: str) -> tuple[Explanation, datetime]:
    async with parent.connect() as client:
        with progress(f"asking the parent about pod {namespace}/{name}"):
            seen = await _look(client, name, namespace)
        return explained(seen), client.server_time()


async def _look(client: Client, name: str, namespace: str) -> Seen:
    try:
        pod = await client.get(PODS, name, namespace, type=Pod)
    except NotFoundError as error:
        raise VkError(f"no pod {namespace}/{name} in the parent", reason="NotFound") from error
    spec = fields(pod.spec)
    nodes = await client.list(NODES, type=Node)
    events = await _events(client, pod)
    node = spec.get("nodeName", "")
    member = next((each for each in await list_members(client) or () if node and node in each.node_names), None)
    if member is None:
        return Seen(pod, events, nodes)
    uid = (await client.get(NAMESPACES, "kube-system", type=PartialObject)).metadata.uid
    names = Names(node, uid, member.spec.namespace_mapping.prefix)
    member_pod, member_events, not_seen = await _look_in_the_member(client, member, pod, names)
    changes = _differences(pod, spec, Target(names, member.spec.api_access))
    return Seen(pod, events, nodes, member, member_pod, member_events, changes, not_seen)


async def _look_in_the_member(
    client: Client, member: MemberCluster, pod: Pod, names: Names
) -> tuple[Pod | None, list[MemberEvent], str]:
    """The member pod, its Events, and why they could not be read."""
    try:
        async with Client((await read_kubeconfig(client, member)).credentials()) as there:
            found = await there.get(PODS, pod.metadata.name, names.namespace(pod.metadata.namespace), type=Pod)
            if not names.owns(found.metadata.labels):
                return None, [], ""
            return found, await _events(there, found), ""
    except NotFoundError:
        return None, [], ""
    except VkError as error:
        return None, [], str(error)


async def _events(client: Client, pod: Pod) -> list[MemberEvent]:
    """The Events about a pod; none if they may not be read."""
    query = {"fieldSelector": f"involvedObject.uid={pod.metadata.uid}"}
    try:
        return await client.list(EVENTS, pod.metadata.namespace, type=MemberEvent, query=query)
    except ForbiddenError:
        return []


def _differences(pod: Pod, spec: dict[str, Any], target: Target) -> list[Difference]:
    metadata: dict[str, Any] = msgspec.json.decode(encode(pod.metadata))
    present = {key: value for key, value in metadata.items() if value}
    return rendered({"metadata": present, "spec": spec}, target).changes


def text(found: Explanation) -> list[str]:
    """Everything but the history, in lines."""
    where = f"on node {found.node}" if found.node else "without a node"
    lines = [f"pod {found.namespace}/{found.name} is {found.phase}, {where}"]
    if found.member:
        lines[0] += f", which is member {found.member}"
    waits = found.waits_for or ["nothing"]
    changes = [f"{each.what:10} {each}" for each in found.differences if each.missed]
    if others := len(found.differences) - len(changes):
        changes.append(f"{counted(others, 'other difference')} that the pod does not notice (-o json)")
    for title, part in (
        ("why it is there, and not elsewhere", found.why),
        ("what it waits for", waits),
        ("what is different in the member", changes),
    ):
        if part:
            lines += ["", title, *(f"  {line}" for line in part)]
    return [*lines, "", "what happened"]


def history(moments: list[Moment], now: datetime) -> Table:
    """The oldest first. The clocks of the clusters may differ."""
    shown = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown.add_column("  AGE", no_wrap=True, justify="right")
    for name in ("CLUSTER", "WHAT", "MESSAGE"):
        shown.add_column(name, overflow="fold")
    for moment in moments:
        style = "" if moment.cluster == PARENT else "cyan"
        shown.add_row(age(moment.time, now), moment.cluster, moment.what, moment.message, style=style)
    return shown
