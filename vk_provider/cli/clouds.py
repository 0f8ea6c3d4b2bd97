"""A warning about the controllers of a parent that runs in a cloud."""

from __future__ import annotations

import msgspec

from vk_provider.api.wellknown import CLUSTER_LABEL
from vk_provider.errors import NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.resources import NODES
from vk_provider.translate.nodes.provider_id import missing_provider_id


class _Spec(msgspec.Struct):
    provider_id: str = msgspec.field(name="providerID", default="")


class _Node(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)


async def provider_id_warning(client: Client, name: str, node: str) -> str:
    """For the virtual node of a member with that name; empty if there is no reason for one.

    Looks at one page of the other Nodes: those of a cloud all have an ID.
    """
    try:
        ours = (await client.get(NODES, node, type=_Node)).spec.provider_id
    except NotFoundError:
        return ""
    if ours:
        return ""
    async for page in client.pages(NODES, type=_Node, query={"labelSelector": f"!{CLUSTER_LABEL}"}):
        if missing_provider_id(ours, (other.spec.provider_id for other in page.items)):
            return (
                f"warning: the parent's nodes have a providerID, and {node} has none: a cloud controller may delete it "
                f"when member {name} is lost; set spec.providerID of the MemberCluster"
            )
        break
    return ""
