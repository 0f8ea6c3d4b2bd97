"""Questions about the members that several commands ask the parent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
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
_CLOCKS_DIFFER: Final = timedelta(minutes=10)  # at most, the parent's and the provider's
_RENEWED_WITHIN: Final = 15.0  # seconds, by a provider that is alive (it does so every 10)
_LOOK: Final = 2.0  # seconds between looks at a Lease
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
    """Whether somebody serves the node, as far as the clocks of parent and provider agree."""
    return renewed is not None and now - renewed <= _LEASE_LIFE


async def last_renewal(client: Client, node: str) -> datetime | None:
    """When the Lease of one node was renewed; None where it is missing."""
    try:
        return (await client.get(LEASES, node, LEASE_NAMESPACE, type=_Lease)).spec.renew_time
    except NotFoundError:
        return None


def may_be_served(renewed: datetime | None, now: datetime) -> bool:
    """False where it is certain that no provider serves the node: no Lease, or one that was left long ago."""
    return renewed is not None and now - renewed <= _CLOCKS_DIFFER


async def until_expired(client: Client, node: str, now: Callable[[], datetime]) -> None:
    """Returns once nobody has renewed the Lease of the node for as long as it holds.

    A Lease that goes means that a provider is at work (it deletes the Node): then this never returns.
    """
    loop = asyncio.get_running_loop()
    renewed, seen_at = await last_renewal(client, node), loop.time()
    patience = _patience(renewed, now())
    while renewed is None or loop.time() - seen_at < patience:
        await asyncio.sleep(_LOOK)
        latest = await last_renewal(client, node)
        if latest != renewed:
            renewed, seen_at, patience = latest, loop.time(), _patience(latest, now())


def _patience(renewed: datetime | None, now: datetime) -> float:
    """Seconds to watch a Lease for a renewal: clocks differ, so that it looks expired is not enough."""
    age = now - renewed if renewed else timedelta(0)
    return max(_RENEWED_WITHIN, (_LEASE_LIFE - age).total_seconds())
