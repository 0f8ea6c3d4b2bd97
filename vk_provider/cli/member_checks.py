"""The checks of `vk-provider doctor` for a member.

What its API server is asked, this process asks it: with the credential of the provider, but from the machine of the
command.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import CapacityPolicy, MemberCluster
from vk_provider.cli.checks import Finding, Level, Result, failed, judged, ok, parts, tried
from vk_provider.cli.members import is_fresh, read_kubeconfig, renew_times
from vk_provider.errors import ForbiddenError, VkError, counted
from vk_provider.kube.auth.expiry import validity
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Node, PartialObject, fields, node_conditions
from vk_provider.kube.resources import NODES, PODS
from vk_provider.sync.membership.access import RENEW, another_cluster, examine, read_version
from vk_provider.translate import quantity
from vk_provider.translate.state.rights import GRANT

_SKEW: Final = timedelta(seconds=10)  # between the clocks of two clusters
_PROXY: Final = 10.0  # seconds that the parent's API server gets to reach the kubelet port


@dataclass(frozen=True)
class Subject:
    """A member, as the checks see it. `now`: by the parent's clock. `there`: its API server, if it can be asked."""

    parent: Client
    member: MemberCluster
    node: Node | None
    renewed: datetime | None
    now: datetime
    kubeconfig: Kubeconfig | VkError
    there: Client | None

    @property
    def name(self) -> str:
        """Of the member."""
        return self.member.metadata.name


async def member_findings(client: Client, members: list[MemberCluster]) -> list[Finding]:
    """Checks of all members, each at the same time."""
    if not members:
        return []
    nodes = {node.metadata.name: node for node in await client.list(NODES, type=Node)}
    renewed, now = await renew_times(client), client.server_time()

    async def of(member: MemberCluster) -> list[Finding]:
        name = member.node_name
        async with _reached(client, member) as (kubeconfig, there):
            subject = Subject(client, member, nodes.get(name), renewed.get(name), now, kubeconfig, there)
            results = await asyncio.gather(*(tried(check(subject)) for check in _CHECKS.values()))
        return [Finding(subject.name, *named) for named in _named(results)]

    return [finding for found in await asyncio.gather(*map(of, members)) for finding in found]


def _named(results: list[Result | None]) -> list[tuple[str, Level, str, str]]:
    return [(check, *parts(result)) for check, result in zip(_CHECKS, results, strict=True) if result is not None]


@asynccontextmanager
async def _reached(parent: Client, member: MemberCluster) -> AsyncIterator[tuple[Kubeconfig | VkError, Client | None]]:
    """The member's kubeconfig, or what is wrong with it, and a client that uses it."""
    try:
        kubeconfig = await read_kubeconfig(parent, member)
        credentials = kubeconfig.credentials()
    except VkError as error:
        yield error, None
        return
    async with Client(credentials) as client:
        yield kubeconfig, client


def _not_checked(error: ForbiddenError, right: str) -> Result:
    """The user of the command may not look at it: that is no fault of the member."""
    return Result(Level.WARNING, f"not checked: {error.message}", f"run the command as a user with {right}")


async def _provider(it: Subject) -> Result:
    if is_fresh(it.renewed, it.now):
        return ok(f"a provider renews the Lease of node {it.member.node_name}")
    since = f"since {it.renewed.isoformat(timespec='seconds')}" if it.renewed else "and never has"
    return Result(Level.ERROR, f"no provider serves it, {since}", "start one: vk-provider run")


async def _credential(it: Subject) -> Result:
    if isinstance(it.kubeconfig, ForbiddenError):
        return _not_checked(it.kubeconfig, "get on this Secret")
    if isinstance(it.kubeconfig, VkError):
        return failed(it.kubeconfig)
    period = validity(it.kubeconfig)
    if period is None:
        return ok("the kubeconfig is usable; its credential shows no end")
    end = f"the {period.kind} ends at {period.ends.isoformat(timespec='seconds')}"
    if it.now >= period.warn_at:
        return Result(Level.ERROR if it.now >= period.ends else Level.WARNING, end, RENEW)
    return ok(end)


async def _api(it: Subject) -> Result | None:
    """Whether it answers, is the cluster that was joined, and grants what the provider needs."""
    if it.there is None:
        return None
    facts = await examine(it.there)
    joined = it.member.status.cluster_uid
    if joined and facts.cluster_uid != joined:
        return failed(another_cluster(it.there.server, facts.cluster_uid, joined, it.name))
    if facts.rights.explanation:
        return Result(Level.WARNING, facts.rights.explanation.removesuffix(f"; {GRANT}"), GRANT)
    return judged(facts.version)


async def _clock(it: Subject) -> Result | None:
    """Durations of conditions and leases are read by the clock of the other cluster."""
    if it.there is None:
        return None
    await read_version(it.there)
    skew = abs(it.there.server_time() - it.parent.server_time())
    if skew > _SKEW:
        text = f"its clock and that of the parent differ by {skew.total_seconds():.0f} s"
        return Result(Level.WARNING, text, "synchronise the clocks of both clusters (NTP)")
    return ok("its clock agrees with that of the parent")


async def _state(it: Subject) -> Result:
    """The conditions that the provider has written."""
    ready = it.member.status.condition(wellknown.READY)
    if ready is None:
        return Result(Level.ERROR, "no provider has ever reported its state", "start one: vk-provider run")
    advice = f"vk-provider status {it.name}"
    if ready.status != "True":
        return Result(Level.ERROR, f"{ready.reason}: {ready.message}", advice)
    for condition in it.member.status.conditions:
        bad = "True" if condition.type == wellknown.ORPHANS_HELD else "False"
        if condition.status == bad:
            return Result(Level.WARNING, f"{condition.type}: {condition.reason}: {condition.message}", advice)
    return ok("Ready, and no condition needs attention")


async def _kubelet(it: Subject) -> Result | None:
    """Whether the parent's API server reaches the port of the kubelet API: logs, exec and metrics need that."""
    if it.node is None or not is_fresh(it.renewed, it.now):
        return None
    path = f"{NODES.path(it.member.node_name)}/proxy/healthz"
    try:
        await it.parent.request("GET", path, deadline=_PROXY)
    except ForbiddenError as error:
        return Result(
            Level.WARNING, f"not checked: {error.message}", "run the command as a user with get on nodes/proxy"
        )
    except VkError as error:
        text = f"the parent's API server does not reach the kubelet API: {error.message}"
        return Result(
            Level.ERROR, text, "open its way to the provider; vk-provider run has --kubelet-address and others"
        )
    return ok("the parent's API server reaches the kubelet API")


async def _node(it: Subject) -> Result | None:
    if it.node is None:
        return Result(Level.ERROR, f"the parent has no node {it.member.node_name}", "start a provider: vk-provider run")
    ready = node_conditions(it.node).get("Ready")
    if ready is None or ready.status != "True":
        reason = f"{ready.reason}: {ready.message}" if ready else "no condition Ready"
        return Result(
            Level.ERROR, f"node {it.member.node_name} is not Ready: {reason}", f"vk-provider status {it.name}"
        )
    return ok(f"node {it.member.node_name} is Ready")


async def _allocatable(it: Subject) -> Result | None:
    """Whether the member has what its virtual node offers."""
    if it.there is None or it.node is None:
        return None
    has: dict[str, Fraction] = {}
    for node in await it.there.list(NODES, type=Node):
        for name, value in _allocatable_of(node).items():
            has[name] = has.get(name, Fraction()) + quantity.parse(value)
    offered = _allocatable_of(it.node)
    more = [name for name, value in offered.items() if quantity.parse(value) > has.get(name, 0)]
    if not more:
        return ok("its nodes have what the virtual node offers")
    text = f"the virtual node offers more than its nodes have now: {', '.join(sorted(more))}"
    if it.member.spec.capacity_policy is CapacityPolicy.PROMISE:
        return Result(Level.OK, f"{text} (capacityPolicy Promise)")
    return Result(Level.WARNING, text, f"vk-provider status {it.name}")


def _allocatable_of(node: Node) -> Mapping[str, str]:
    found: Mapping[str, str] = fields(node.status).get("allocatable") or {}
    return found


async def _namespaces(it: Subject) -> Result:
    """Pods of excluded namespaces stay Pending on the virtual node."""
    excluded = it.member.spec.namespaces.exclude
    query = {"fieldSelector": f"spec.nodeName={it.member.node_name},status.phase=Pending"}
    pods = await it.parent.list(PODS, type=PartialObject, query=query)
    waiting = [pod.metadata.key for pod in pods if pod.metadata.namespace in excluded]
    if waiting:
        text = f"{counted(len(waiting), 'pod')} of excluded namespaces, which never run there: {', '.join(waiting[:3])}"
        return Result(Level.WARNING, text, "keep them off virtual nodes: docs/how-to/policies.md")
    return ok("no pod of an excluded namespace waits there")


_CHECKS: Final[dict[str, Callable[[Subject], Awaitable[Result | None]]]] = {
    "provider": _provider,
    "credential": _credential,
    "api": _api,
    "clock": _clock,
    "state": _state,
    "node": _node,
    "kubelet": _kubelet,
    "allocatable": _allocatable,
    "namespaces": _namespaces,
}
