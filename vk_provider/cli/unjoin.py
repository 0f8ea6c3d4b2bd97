"""`vk-provider unjoin`: ends a membership, and reports what happened to the pods."""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import click
import msgspec

from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.api.wellknown import READY
from vk_provider.cli import options
from vk_provider.cli.members import find_member, last_renewal, may_be_served, until_expired
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.terminal import note, progress, say
from vk_provider.cli.watching import until_member
from vk_provider.errors import ConfigError, NotFoundError, VkError, counted
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, OwnedMetadata
from vk_provider.kube.resources import PODS
from vk_provider.sync.membership.abandon import Left, abandon, left_behind

_SHOWN: Final = 10  # groups of pods


class _Pod(msgspec.Struct):
    metadata: OwnedMetadata

    @property
    def group(self) -> tuple[str, str]:
        """Namespace and controller."""
        owner = self.metadata.controller
        return self.metadata.namespace, f"{owner.kind} {owner.name}" if owner else ""


@click.command(short_help="End the membership of a cluster.")
@click.argument("name", type=options.dns_label, metavar="NAME")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@options.timeout(120, "How long to follow it.")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", help="Default: text.")
@pass_parent
def unjoin(parent: Parent, name: str, yes: bool, timeout: float, output: str) -> None:
    """End the membership of a cluster: its pods are evicted, then its virtual node is deleted.

    Controllers recreate their pods on other nodes. If no provider runs, this command cleans up the parent itself, and
    pods may keep running in the member.
    """
    if not yes and not sys.stdin.isatty():
        raise ConfigError(
            f"{name}: stdin is not a terminal, so you cannot confirm", reason="NotConfirmed", remedy="pass --yes"
        )
    cluster, pods = execute(_look(parent, name))
    _describe(cluster, pods)
    if not yes and not click.confirm(f"Unjoin {name}?", err=True):
        note("no changes were made")
        raise click.exceptions.Exit(1)
    left = execute(_unjoin(parent, cluster, pods, timeout))
    if output == "json":
        say(msgspec.json.encode(_result(cluster, len(pods), left)).decode())
        return
    say(f"{name} has left")
    if left is not None:
        say(left.message)


async def _look(parent: Parent, name: str) -> tuple[MemberCluster, list[_Pod]]:
    async with parent.connect() as client:
        cluster = await find_member(client, name)
        active = f"spec.nodeName={cluster.node_name},status.phase!=Succeeded,status.phase!=Failed"
        pods = await client.list(PODS, type=_Pod, query={"fieldSelector": active})
        return cluster, pods


def _describe(cluster: MemberCluster, pods: list[_Pod]) -> None:
    total = len(pods)
    verb = "runs" if total == 1 else "run"
    note(f"{counted(total, 'pod')} {verb} on {cluster.node_name}:" if total else f"no pods run on {cluster.node_name}")
    groups = sorted(Counter(pod.group for pod in pods).items(), key=lambda group: (-group[1], group[0]))
    for (namespace, owner), number in groups[:_SHOWN]:
        note(f"  {number:4} in {namespace}: {owner or 'without a controller, so not recreated elsewhere'}")
    if len(groups) > _SHOWN:
        note(f"  {sum(number for _, number in groups[_SHOWN:]):4} in {len(groups) - _SHOWN} more groups")


async def _unjoin(parent: Parent, cluster: MemberCluster, pods: list[_Pod], seconds: float) -> Left | None:
    """What may be left behind in the member; None if a provider has removed everything."""
    name = cluster.metadata.name
    async with parent.connect() as client:
        with progress(f"{name} is leaving") as shown:
            try:
                await client.delete(MEMBER_CLUSTERS, name, uid=cluster.metadata.uid)
            except NotFoundError:
                pass
            served, last = False, cluster.status.condition(READY)
            if may_be_served(await last_renewal(client, cluster.node_name), client.server_time()):
                served, last = await _follow_while_served(client, cluster, seconds, shown.update)
            if not served:
                shown.update(f"{name} is not served: cleaning up the parent, and not the member")
                return await abandon(client, cluster)
        if last is not None and last.status == "False" and last.reason not in ("Leaving", "Left"):
            left = await left_behind(client, cluster, [pod.metadata.key for pod in pods])
            return Left(left.pods, f"the member was not cleaned up ({last.reason}: {last.message}): {left.message}")
    return None


async def _follow_while_served(
    client: Client, cluster: MemberCluster, seconds: float, show: Callable[[str], None]
) -> tuple[bool, Condition | None]:
    """`_follow`, until no provider renews the Lease. Whether a provider did, and the last Ready condition."""
    follow = asyncio.create_task(_follow(client, cluster, seconds, show))
    expired = asyncio.create_task(until_expired(client, cluster.node_name, client.server_time))
    try:
        await asyncio.wait((follow, expired), return_when=asyncio.FIRST_COMPLETED)
        if follow.done():
            return True, follow.result()
        expired.result()  # raises the error of the parent, if there was one
        return False, None
    finally:
        follow.cancel()
        expired.cancel()
        await asyncio.gather(follow, expired, return_exceptions=True)


async def _follow(
    client: Client, cluster: MemberCluster, seconds: float, show: Callable[[str], None]
) -> Condition | None:
    """Waits until the MemberCluster is gone. Returns its last Ready condition."""
    name, last = cluster.metadata.name, cluster.status.condition(READY)

    def gone(state: MemberCluster | None) -> bool:
        nonlocal last
        if state is None or state.metadata.uid != cluster.metadata.uid:
            return True
        last = state.status.condition(READY)
        if last is not None and last.status == "False":
            show(f"{name}: {last.message}")
        return False

    try:
        await until_member(client, name, gone, seconds)
    except TimeoutError as error:
        detail = f": {last.message}" if last else ""
        raise VkError(
            f"{name} is still leaving after {seconds:g} s{detail}",
            reason="Timeout",
            remedy=f"the provider continues; follow its progress with vk-provider unjoin {name}",
        ) from error
    return last


def _result(cluster: MemberCluster, pods: int, left: Left | None) -> dict[str, Any]:
    behind = None if left is None else {"pods": left.pods, "message": left.message}
    return {"name": cluster.metadata.name, "node": cluster.node_name, "pods": pods, "leftBehind": behind}
