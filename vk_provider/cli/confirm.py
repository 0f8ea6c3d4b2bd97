"""`vk-provider confirm`: agrees to an action that the provider does not take by itself."""

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


@click.command(short_help="Confirm an action that the provider holds back.")
@click.argument("name", type=options.dns_label, metavar="NAME")
@click.option("--new-cluster", is_flag=True, help="The member was rebuilt: its former pods no longer exist.")
@pass_parent
def confirm(parent: Parent, name: str, new_cluster: bool) -> None:
    """Agree that the orphans of a member are deleted: its pods that the parent does not know.

    With --new-cluster, agree that the member is now another cluster. The provider recreates its pods there, and lets
    the parent remove those that were being deleted.
    """
    execute(_confirm(parent, name, new_cluster))
    say(f"{name}: confirmed; the provider {'adopts the new cluster' if new_cluster else 'deletes the orphans'}")


async def _confirm(parent: Parent, name: str, new_cluster: bool) -> None:
    async with parent.connect() as client:
        cluster = await find_member(client, name)
        check(cluster, new_cluster)
        replaced = wellknown.CONFIRM_NEW_CLUSTER + cluster.status.cluster_uid
        value = replaced if new_cluster else wellknown.CONFIRM_ORPHANS
        body = {"metadata": {"uid": cluster.metadata.uid, "annotations": {wellknown.CONFIRM: value}}}
        await client.patch(MEMBER_CLUSTERS, name, body, type=PartialObject)


def check(cluster: MemberCluster, new_cluster: bool) -> None:
    """Raises VkError if the provider does not wait for this confirmation."""
    name = cluster.metadata.name
    ready, held = cluster.status.condition(wellknown.READY), cluster.status.condition(wellknown.ORPHANS_HELD)
    if new_cluster and (ready is None or ready.reason != wellknown.CLUSTER_UID_CHANGED):
        raise VkError(
            f"{name} is still the cluster that was joined: there is nothing to confirm", reason="NothingToConfirm"
        )
    if not new_cluster and (held is None or held.status != "True"):
        raise VkError(f"{name} holds no orphans: there is nothing to confirm", reason="NothingToConfirm")
