"""`vk-provider fence`: declares that a member is down, which the provider can never know by itself."""

from __future__ import annotations

from typing import Final

import click
import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, FencedPods, MemberCluster
from vk_provider.cli import options
from vk_provider.cli.members import find_member
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.terminal import progress, say
from vk_provider.cli.watching import until
from vk_provider.errors import ConfigError, ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Node, Object, PartialObject
from vk_provider.kube.resources import NODES
from vk_provider.sync.membership.leave import pods_of
from vk_provider.sync.node_edit import NodeEdit, Taint, edit_node

_TAINT: Final = {"key": wellknown.OUT_OF_SERVICE_TAINT, "value": "nodeshutdown", "effect": "NoExecute"}
_RECORDED: Final = 50  # names of pods that the MemberCluster keeps


class _Status(msgspec.Struct):
    conditions: list[Condition] = []


@click.command(short_help="Declare that a lost member is down.")
@click.argument("name", type=options.dns_label, metavar="NAME")
@click.option("--confirmed-down", is_flag=True, help="None of its containers runs: you have made sure.")
@options.timeout(60, "How long to wait until its node is not Ready.")
@pass_parent
def fence(parent: Parent, name: str, confirmed_down: bool, timeout: float) -> None:
    """Declare that a lost member is down: none of its containers runs, or will run before it answers again.

    Its node gets the taint node.kubernetes.io/out-of-service. Kubernetes then removes its pods without waiting for the
    member, so that pods that must run at most once (StatefulSets) start elsewhere. If a container still runs in the
    member, it runs twice. The provider withdraws the fence when the member answers.
    """
    if not confirmed_down:
        raise ConfigError(
            f"{name}: its pods would start elsewhere, and may still run there",
            reason="NotConfirmed",
            remedy="power the member off, or cut it off from its storage and clients; then pass --confirmed-down",
        )
    execute(_fence(parent, name, timeout))
    say(f"{name} is fenced: Kubernetes removes its pods")


async def _fence(parent: Parent, name: str, seconds: float) -> None:
    async with parent.connect() as client:
        cluster = await find_member(client, name)
        _check(cluster, await _ready(client, cluster.node_name))
        await _annotate(client, cluster, client.timestamp(), await _pods(client, cluster))
        if cluster.metadata.deletion_timestamp is not None:
            return  # the provider was waiting for the fence, and now deletes the node and its pods
        with progress(f"waiting for node {cluster.node_name} to be not Ready"):
            await _until_not_ready(client, cluster, seconds)
        await _taint(client, cluster, present=True)
        if wellknown.FENCED not in (await find_member(client, name)).metadata.annotations:
            await _taint(client, cluster, present=False)
            raise VkError(f"{name} answers again: the fence is withdrawn", reason="MemberAnswers")


def _check(cluster: MemberCluster, ready: str) -> None:
    """Raises VkError if the member answers, according to its node and its conditions."""
    name, reachable = cluster.metadata.name, cluster.status.condition(wellknown.REACHABLE)
    if ready == "True" and (reachable is None or reachable.status == "True"):
        raise VkError(
            f"{name} answers: its node {cluster.node_name} is Ready",
            reason="MemberAnswers",
            remedy=f"to move its pods: kubectl drain {cluster.node_name}, or vk-provider unjoin {name}",
        )
    if ready != "True" and reachable is not None and reachable.reason == "Returning":
        raise VkError(f"{name} answers again: {reachable.message}", reason="MemberAnswers")


async def _ready(client: Client, node: str) -> str:
    """The status of the Ready condition of a Node. Raises VkError if the Node does not exist."""
    try:
        return ready_status(await client.get(NODES, node, type=Node))
    except NotFoundError as error:
        raise VkError(f"the parent has no node {node}", reason="NotFound") from error


def ready_status(node: Node | Object | None) -> str:
    """Unknown if there is no node, or no Ready condition yet."""
    conditions = msgspec.json.decode(node.status, type=_Status).conditions if node else []
    return next((condition.status for condition in conditions if condition.type == "Ready"), "Unknown")


async def _until_not_ready(client: Client, cluster: MemberCluster, seconds: float) -> None:
    """Waits for the node to be not Ready: the provider declares a fenced member lost, also during a freeze.

    Withdraws the fence, and raises VkError, if that takes too long.
    """
    try:
        await until(client, NODES, cluster.node_name, lambda node: ready_status(node) != "True", seconds)
    except TimeoutError as error:
        name = cluster.metadata.name
        await _annotate(client, cluster, None)
        raise VkError(
            f"node {cluster.node_name} is still Ready after {seconds:g} s: {name} may have answered",
            reason="Timeout",
            remedy=f"see vk-provider status {name}",
        ) from error


async def _pods(client: Client, cluster: MemberCluster) -> FencedPods:
    """The pods that Kubernetes will remove, although they may still run if the declaration is wrong."""
    pods = await pods_of(client, cluster, PartialObject)
    return FencedPods(len(pods), tuple(sorted(pod.metadata.key for pod in pods)[:_RECORDED]))


async def _annotate(
    client: Client, cluster: MemberCluster, declared_at: str | None, pods: FencedPods | None = None
) -> None:
    """Declares the fence in the MemberCluster, or withdraws it (None)."""
    recorded = msgspec.json.encode(pods).decode() if pods else None
    annotations = {wellknown.FENCED: declared_at, wellknown.FENCED_PODS: recorded}
    body = {"metadata": {"uid": cluster.metadata.uid, "annotations": annotations}}
    await client.patch(MEMBER_CLUSTERS, cluster.metadata.name, body, type=PartialObject)


async def _taint(client: Client, cluster: MemberCluster, *, present: bool) -> None:
    """Adds the taint of a fence to the node, or removes it."""

    def edit(_node: Node, taints: list[Taint]) -> NodeEdit:
        others = [taint for taint in taints if taint["key"] != wellknown.OUT_OF_SERVICE_TAINT]
        return NodeEdit([*others, _TAINT] if present else others)

    try:
        await edit_node(client, cluster.node_name, edit)
    except ConflictError as error:
        raise VkError(
            f"the taints of node {cluster.node_name} were not written: other clients change the node all the time",
            reason="Conflict",
            remedy="try again",
        ) from error
