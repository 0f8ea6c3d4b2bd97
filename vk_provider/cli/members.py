"""What several commands ask the parent about the members."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import msgspec

from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster, decode
from vk_provider.cli.terminal import listed
from vk_provider.errors import ConfigError, NotFoundError, VkError
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, Object, Payload
from vk_provider.kube.resources import LEASES, SECRETS

LEASE_NAMESPACE: Final = "kube-node-lease"
_LEASE_LIFE: Final = timedelta(seconds=40)  # as long as Kubernetes itself waits for a node
_CLOCK_SKEW: Final = timedelta(minutes=10)  # maximum difference between the clocks of the parent and the provider
_RENEWED_WITHIN: Final = 15.0  # seconds; a running provider renews a Lease every 10 s
_POLL: Final = 2.0  # seconds between two GETs of a Lease
HOW_TO_JOIN: Final = "join one: vk-provider join NAME --kubeconfig FILE"


async def list_members(client: Client) -> list[MemberCluster] | None:
    """All members, sorted by name; None if the parent has no MemberCluster resource, because no cluster ever joined."""
    try:
        found = await client.list(MEMBER_CLUSTERS, type=Object)
    except NotFoundError:
        return None
    return [decode(raw) for raw in sorted(found, key=lambda raw: raw.metadata.name)]


async def find_members(client: Client, name: str | None) -> list[MemberCluster]:
    """The member of that name, or all. Raises VkError, which lists the existing names."""
    members = await list_members(client) or []
    if name is None:
        return members
    chosen = [member for member in members if member.metadata.name == name]
    if not chosen:
        raise unknown(name, members)
    return chosen


async def find_member(client: Client, name: str) -> MemberCluster:
    """The member of that name. Raises as `find_members`."""
    (found,) = await find_members(client, name)
    return found


async def read_kubeconfig(parent: Client, member: MemberCluster) -> Kubeconfig:
    """The kubeconfig in the member's Secret. Raises ConfigError if there is none, and the errors of the API server."""
    reference = member.spec.kubeconfig_secret_ref
    source = f"secret {reference.namespace}/{reference.name}"
    join = f"vk-provider join {member.metadata.name} --kubeconfig FILE"
    try:
        secret = await parent.get(SECRETS, reference.name, reference.namespace, type=Payload)
        content = base64.b64decode(secret.data[reference.key], validate=True)
    except NotFoundError as error:
        raise ConfigError(f"{source} does not exist", remedy=join) from error
    except (KeyError, binascii.Error) as error:
        raise ConfigError(f"{source} has no kubeconfig under key {reference.key}", remedy=join) from error
    return Kubeconfig.from_secret(content, source)


def unknown(name: str, members: list[MemberCluster]) -> VkError:
    """The error if no member has that name."""
    if not members:
        return VkError(f"no member {name}: the parent has no members", reason="NotFound", remedy=HOW_TO_JOIN)
    known = listed(member.metadata.name for member in members)
    return VkError(f"no member {name}; the members are: {known}", reason="NotFound")


class _LeaseSpec(msgspec.Struct, rename="camel"):
    renew_time: datetime | None = None


class _Lease(msgspec.Struct):
    metadata: Metadata
    spec: _LeaseSpec = msgspec.field(default_factory=_LeaseSpec)


async def renew_times(client: Client) -> Mapping[str, datetime]:
    """When the Lease of each node was last renewed."""
    leases = await client.list(LEASES, LEASE_NAMESPACE, type=_Lease)
    return {lease.metadata.name: lease.spec.renew_time for lease in leases if lease.spec.renew_time}


def is_fresh(renewed: datetime | None, now: datetime) -> bool:
    """Whether a provider serves the node, if the clocks of the parent and the provider agree."""
    return renewed is not None and now - renewed <= _LEASE_LIFE


async def last_renewal(client: Client, node: str) -> datetime | None:
    """When the Lease of one node was last renewed; None if there is no Lease."""
    try:
        return (await client.get(LEASES, node, LEASE_NAMESPACE, type=_Lease)).spec.renew_time
    except NotFoundError:
        return None


def may_be_served(renewed: datetime | None, now: datetime) -> bool:
    """False if certainly no provider serves the node: it has no Lease, or an abandoned one."""
    return renewed is not None and now - renewed <= _CLOCK_SKEW


async def until_expired(client: Client, node: str, now: Callable[[], datetime]) -> None:
    """Returns once the Lease of the node has not been renewed for its whole lifetime.

    If the Lease is deleted, a provider is working (it deletes the Node): then this never returns.
    """
    loop = asyncio.get_running_loop()
    renewed, seen_at = await last_renewal(client, node), loop.time()
    lifetime = _lifetime(renewed, now())
    while renewed is None or loop.time() - seen_at < lifetime:
        await asyncio.sleep(_POLL)
        latest = await last_renewal(client, node)
        if latest != renewed:
            renewed, seen_at, lifetime = latest, loop.time(), _lifetime(latest, now())


def _lifetime(renewed: datetime | None, now: datetime) -> float:
    """Seconds to wait for a renewal of a Lease: as clocks differ, it may only look expired."""
    age = now - renewed if renewed else timedelta(0)
    return max(_RENEWED_WITHIN, (_LEASE_LIFE - age).total_seconds())
