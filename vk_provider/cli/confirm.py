"""`vk-provider confirm`: agrees to what the provider does not do by itself."""

from __future__ import annotations

import click

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.cli import options
from vk_provider.cli.members import find_member
from vk_provider.cli.parent import Parent, execute, pass_parent
from vk_provider.cli.terminal import say
from vk_provider.errors import VkError
from vk_provider.kube.objects import PartialObject


@click.command(short_help="Agree to what the provider waits for.")
@click.argument("name", type=options.dns_label, metavar="NAME")
@click.option("--new-cluster", is_flag=True, help="The member was rebuilt: what ran there before is gone.")
@pass_parent
def confirm(parent: Parent, name: str, new_cluster: bool) -> None:
    """Agree that pods in the member that the parent does not know are deleted, although they are many.

    With --new-cluster: that the member is another cluster than the one that was joined. Its pods are made anew there,
    and those that were being deleted are gone.
    """
    execute(_confirm(parent, name, new_cluster))
    say(f"{name}: {'the new cluster is taken up' if new_cluster else 'the orphans are deleted'}")


async def _confirm(parent: Parent, name: str, new_cluster: bool) -> None:
    async with parent.connect() as client:
        cluster = await find_member(client, name)
        check(cluster, new_cluster)
        value = wellknown.CONFIRM_NEW_CLUSTER if new_cluster else wellknown.CONFIRM_ORPHANS
        body = {"metadata": {"uid": cluster.metadata.uid, "annotations": {wellknown.CONFIRM: value}}}
        await client.patch(MEMBER_CLUSTERS, name, body, type=PartialObject)


def check(cluster: MemberCluster, new_cluster: bool) -> None:
    """Raises VkError where the provider does not wait for this: nobody can agree to what he has not seen."""
    name = cluster.metadata.name
    ready, held = cluster.status.condition(wellknown.READY), cluster.status.condition(wellknown.ORPHANS_HELD)
    if new_cluster and (ready is None or ready.reason != wellknown.CLUSTER_UID_CHANGED):
        raise VkError(f"{name} is the cluster that was joined", reason="NothingToConfirm")
    if not new_cluster and (held is None or held.status != "True"):
        raise VkError(f"{name} holds no orphans", reason="NothingToConfirm")
