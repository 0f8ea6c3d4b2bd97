"""Questions about the members that several commands ask the parent."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster, decode
from vk_provider.cli.terminal import listed
from vk_provider.errors import NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, Object
from vk_provider.kube.resources import LEASES

LEASE_NAMESPACE: Final = "kube-node-lease"
_LEASE_LIFE: Final = timedelta(seconds=40)  # as long as Kubernetes itself waits for a node
_CLOCKS_DIFFER: Final = timedelta(minutes=10)  # at most, between this machine and the provider's
_RENEWED_EVERY: Final = 10.0  # seconds
HOW_TO_JOIN: Final = "join one: vk-provider join NAME --kubeconfig FILE"


async def list_members(client: Client) -> list[MemberCluster] | None:
    """All members by name, or None where the parent does not know MemberClusters (nothing was ever joined)."""
    try:
        found = await client.list(MEMBER_CLUSTERS, type=Object)
    except NotFoundError:
        return None
    return [decode(raw) for raw in sorted(found, key=lambda raw: raw.metadata.name)]


async def find_member(client: Client, name: str) -> MemberCluster:
    """The member of that name. Raises VkError with the names that there are."""
    members = await list_members(client) or []
    for member in members:
        if member.metadata.name == name:
            return member
    raise unknown(name, members)


def unknown(name: str, members: list[MemberCluster]) -> VkError:
    """The error for a name that no member has."""
    if not members:
        return VkError(f"no member {name}: nothing is joined", reason="NotFound", remedy=HOW_TO_JOIN)
    known = listed(member.metadata.name for member in members)
    return VkError(f"no member {name}; the members are: {known}", reason="NotFound")


class _LeaseSpec(msgspec.Struct, rename="camel"):
    renew_time: datetime | None = None


class _Lease(msgspec.Struct):
    metadata: Metadata
    spec: _LeaseSpec = msgspec.field(default_factory=_LeaseSpec)


async def renew_times(client: Client) -> Mapping[str, datetime]:
    """When the Lease of each node was renewed last."""
    leases = await client.list(LEASES, LEASE_NAMESPACE, type=_Lease)
    return {lease.metadata.name: lease.spec.renew_time for lease in leases if lease.spec.renew_time}


def is_fresh(renewed: datetime | None, now: datetime) -> bool:
    """Whether somebody serves the node, as far as the clock of this machine is right."""
    return renewed is not None and now - renewed <= _LEASE_LIFE


async def is_served(client: Client, node: str) -> bool:
    """Whether a provider serves the node: its Lease is renewed.

    Not left to this machine's clock alone: a Lease that looks expired, but not by much, is watched for a renewal.
    """
    renewed = await _renewed(client, node)
    now = datetime.now(UTC)
    if renewed is None or is_fresh(renewed, now):
        return renewed is not None
    if now - renewed > _CLOCKS_DIFFER:
        return False
    for _ in range(3):
        await asyncio.sleep(_RENEWED_EVERY / 2)
        if await _renewed(client, node) != renewed:
            return True
    return False


async def _renewed(client: Client, node: str) -> datetime | None:
    try:
        return (await client.get(LEASES, node, LEASE_NAMESPACE, type=_Lease)).spec.renew_time
    except NotFoundError:
        return None
