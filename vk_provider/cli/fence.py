"""`vk-provider fence`: states that a member is down, which a timer can never know."""

from __future__ import annotations

from typing import Any, Final

import click
import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.cli import options
from vk_provider.cli.members import find_member
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.terminal import progress, say
from vk_provider.cli.watching import until
from vk_provider.errors import ConfigError, ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Node, Object, PartialObject, fields
from vk_provider.kube.resources import NODES

_ATTEMPTS: Final = 10  # at a Node that others write at the same time


class _Status(msgspec.Struct):
    conditions: list[Condition] = []


@click.command(short_help="State that a lost member is down.")
@click.argument("name", type=options.dns_label, metavar="NAME")
@click.option("--confirmed-down", is_flag=True, help="None of its containers runs: you have seen to it.")
@options.timeout(60, "How long to wait for its node to be not Ready.")
@pass_parent
def fence(parent: Parent, name: str, confirmed_down: bool, timeout: float) -> None:
    """State that a lost member is down: none of its containers runs, nor will before it answers again.

    Its node gets taint node.kubernetes.io/out-of-service, and Kubernetes removes its pods without waiting for it, so
    that pods that must run at most once (StatefulSets) start elsewhere. If they run after all, there are two of each.
    It is taken back when the member answers.
    """
    if not confirmed_down:
        raise ConfigError(
            f"{name}: pods would start elsewhere that may still run there",
            reason="NotConfirmed",
            remedy="power it off or cut it from its storage and clients, then pass --confirmed-down",
        )
    execute(_fence(parent, name, timeout))
    say(f"{name} is fenced: Kubernetes removes its pods")


async def _fence(parent: Parent, name: str, seconds: float) -> None:
    async with parent.connect() as client:
        cluster = await find_member(client, name)
        _check(cluster, await _ready(client, cluster.node_name))
        stated = client.server_time().strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {"metadata": {"uid": cluster.metadata.uid, "annotations": {wellknown.FENCED: stated}}}
        await client.patch(MEMBER_CLUSTERS, name, body, type=PartialObject)
        if cluster.metadata.deletion_timestamp is not None:
            return  # the provider waits for the statement to let it go, with its node and pods
        with progress(f"waiting for node {cluster.node_name} to be not Ready"):
            await _until_not_ready(client, cluster, seconds)
        await _taint(client, cluster, present=True)
        if wellknown.FENCED not in (await find_member(client, name)).metadata.annotations:
            await _taint(client, cluster, present=False)
            raise VkError(f"{name} answers again: the fence was taken back", reason="MemberAnswers")


def _check(cluster: MemberCluster, ready: str) -> None:
    """Raises where the member answers, as far as anybody knows."""
    name, reachable = cluster.metadata.name, cluster.status.condition(wellknown.REACHABLE)
    if ready == "True" and (reachable is None or reachable.status == "True"):
        raise VkError(f"{name} answers: its node {cluster.node_name} is Ready", reason="MemberAnswers")
    if ready != "True" and reachable is not None and reachable.reason == "Returning":
        raise VkError(f"{name} answers again: {reachable.message}", reason="MemberAnswers")


async def _ready(client: Client, node: str) -> str:
    """Status of the Ready condition of a Node. Raises VkError where there is no such Node."""
    try:
        return ready_status(await client.get(NODES, node, type=Node))
    except NotFoundError as error:
        raise VkError(f"there is no node {node}", reason="NotFound") from error


def ready_status(node: Node | Object | None) -> str:
    """Unknown where there is no node, or nothing was ever said of it."""
    conditions = msgspec.json.decode(node.status, type=_Status).conditions if node else []
    return next((condition.status for condition in conditions if condition.type == "Ready"), "Unknown")


async def _until_not_ready(client: Client, cluster: MemberCluster, seconds: float) -> None:
    """A frozen member is declared lost by the provider because of the statement; or the parent gave its node up."""
    try:
        await until(client, NODES, cluster.node_name, lambda node: ready_status(node) != "True", seconds)
    except TimeoutError as error:
        name = cluster.metadata.name
        body = {"metadata": {"uid": cluster.metadata.uid, "annotations": {wellknown.FENCED: None}}}
        await client.patch(MEMBER_CLUSTERS, name, body, type=PartialObject)
        raise VkError(
            f"node {cluster.node_name} is still Ready after {seconds:g} s: {name} may have answered",
            reason="Timeout",
            remedy=f"look: vk-provider status {name}",
        ) from error


async def _taint(client: Client, cluster: MemberCluster, *, present: bool) -> None:
    """Puts the taint of a fence on the node, or takes it off."""
    wanted = {"key": wellknown.OUT_OF_SERVICE_TAINT, "value": "nodeshutdown", "effect": "NoExecute"}
    for _ in range(_ATTEMPTS):
        node = await client.get(NODES, cluster.node_name, type=Node)
        others: list[dict[str, Any]] = [
            taint for taint in fields(node.spec).get("taints") or () if taint["key"] != wellknown.OUT_OF_SERVICE_TAINT
        ]
        metadata = {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version}
        body = {"metadata": metadata, "spec": {"taints": [*others, wanted] if present else others}}
        try:
            await client.patch(NODES, cluster.node_name, body, type=PartialObject)
            return
        except ConflictError:
            continue  # somebody wrote the Node in between: read it again
    raise VkError(f"node {cluster.node_name} is written by others all the time", reason="Conflict", remedy="try again")
