"""The parent: waited for at the start, for as long as it takes, as a kubelet does; then shared by all members.

no answer, or not yet a working API server --> wait, log it now and then, try again
a certificate or a credential that is not accepted, no MemberCluster resource --> the error is raised
"""

from __future__ import annotations

import asyncio
import logging
import socket
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.config import Settings
from vk_provider.errors import (
    ApiError,
    ConfigError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
    VkError,
)
from vk_provider.kube.auth.kubeconfig import IN_CLUSTER
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, PartialObject
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import ENDPOINT_SLICES, NAMESPACES, NETWORK_POLICIES, NODES, POD_DISRUPTION_BUDGETS
from vk_provider.kubelet.connections import Bounds
from vk_provider.sync.dependents.sources import WatchLimit
from vk_provider.sync.parent.services import ParentServices
from vk_provider.translate.dependents.budgets import Budget, Shares
from vk_provider.translate.dependents.network_policies import NetworkPolicy
from vk_provider.translate.dependents.services import EndpointSlice
from vk_provider.translate.state.freeze import Freeze

log = logging.getLogger(__name__)

_RETRY_CAP: Final = 10.0  # seconds between attempts
_ADVERTISES: Final = 5.0  # seconds after which an API server that works has published its address
_LOOK: Final = 0.5  # seconds between looks for it
_STARTS: Final = 8  # members that are examined at the same time
_LOG_AGAIN: Final = 60.0  # seconds between two log lines about a parent that is waited for
_REMEDY: Final = "check that it runs, and --kubeconfig and --context"


@dataclass(frozen=True)
class Parent:
    """What all members share.

    `freeze` tells a lost member from a broken network. `host` and `port` are those of the parent's API server as pods
    in members reach it; `kubelet_address` is the address of this process that the API server can reach. `starts` has
    places for members that are examined at the same time: each takes several handshakes.
    """

    client: Client
    uid: str
    host: str
    port: str
    kubelet_address: str
    namespaces: Informer[PartialObject]
    virtual_nodes: Informer[Node]
    services: ParentServices
    policies: Informer[NetworkPolicy]
    budgets: Informer[Budget]
    recorder: Recorder
    freeze: Freeze
    starts: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_STARTS))
    kubelet_bounds: Bounds = field(default_factory=Bounds)
    object_watches: WatchLimit = field(default_factory=WatchLimit)
    budget_shares: Shares = field(default_factory=Shares)

    def share(self) -> Parent:
        """The parent for one member: requests and Events of others do not delay or displace those of this view."""
        return replace(self, client=self.client.share(), recorder=self.recorder.share())

    async def run(self) -> None:
        """Keeps the shared lists current and writes Events, until cancelled."""
        async with asyncio.TaskGroup() as group:
            lists = (self.namespaces, self.virtual_nodes, self.services, self.policies, self.budgets)
            for part in (*lists, self.recorder):
                group.create_task(part.run())

    async def synced(self) -> None:
        """Returns when the shared lists are complete that pods need: not those of policies and budgets."""
        await self.namespaces.synced.wait()
        await self.virtual_nodes.synced.wait()
        await self.services.synced()


async def connect(client: Client, settings: Settings, freeze: Freeze) -> Parent:
    """What all members need to know of the parent. Returns once it works.

    Raises ConfigError (CrdMissing) if it has no MemberCluster resource, UnauthorizedError if it does not accept the
    credential, UnreachableError (CertificateInvalid) if its certificate is not valid, and ConfigError if there is no
    credential.
    """
    loop = asyncio.get_running_loop()
    backoff, log_at = Backoff(base=1.0, cap=_RETRY_CAP), loop.time()
    while True:
        try:
            return await _connect(client, settings, freeze)
        except VkError as error:
            if not _heals(error):
                raise
            if loop.time() >= log_at:
                log_at = loop.time() + _LOG_AGAIN
                fields = {"parent": client.server, "error": error.message, "remedy": error.remedy or _REMEDY}
                log.warning("waiting for the parent", extra=fields)
        await asyncio.sleep(backoff.failed())


def _heals(error: VkError) -> bool:
    """Whether waiting helps: it is down, overloaded or starting. One that starts refuses what it will allow (403)."""
    if isinstance(error, ApiError):
        return not isinstance(error, UnauthorizedError | NotFoundError | InvalidError)
    return isinstance(error, UnreachableError) and error.reason != "CertificateInvalid"


async def _connect(client: Client, settings: Settings, freeze: Freeze) -> Parent:
    system = await client.get(NAMESPACES, "kube-system", type=PartialObject)
    try:
        await client.list(MEMBER_CLUSTERS, type=PartialObject)
    except NotFoundError as error:
        raise ConfigError(
            f"{client.server} does not know MemberClusters",
            reason="CrdMissing",
            remedy="kubectl apply -f manifests/crds, or join a member, which does it",
        ) from error
    host, port = await _address(client)
    return Parent(
        client=client,
        uid=system.metadata.uid,
        host=host,
        port=port,
        kubelet_address=settings.kubelet.address or await _own_address(client),
        namespaces=Informer(client, NAMESPACES, PartialObject),
        virtual_nodes=Informer(client, NODES, Node, labels=wellknown.CLUSTER_LABEL),
        services=ParentServices(client),
        policies=Informer(client, NETWORK_POLICIES, NetworkPolicy),
        budgets=Informer(client, POD_DISRUPTION_BUDGETS, Budget),
        recorder=Recorder(client),
        freeze=freeze,
    )


async def _address(client: Client) -> tuple[str, str]:
    """Host and port of the parent's API server for pods in members.

    Those that the provider itself uses, unless pods cannot use them: loopback, a Service address inside the parent, or
    a gateway that serves the API below a path, which the environment of a pod cannot express. Then the address that the
    API server advertises. One that runs on the loopback advertises none.
    """
    url, loop = urlsplit(client.server), asyncio.get_running_loop()
    host, port = url.hostname or "", str(url.port or 443)
    in_cluster = client.credentials.name == IN_CLUSTER
    local = host in ("localhost", "::1") or host.startswith("127.")
    if not in_cluster and not local and not url.path.strip("/"):
        return host, port
    deadline = loop.time() + _ADVERTISES
    while not (found := await _advertised(client)):
        if in_cluster:
            raise UnreachableError(f"{client.server}: EndpointSlice default/kubernetes lists no address yet")
        if loop.time() > deadline:
            fields = {"parent": client.server, "remedy": "let it have an address that members reach, and use that"}
            log.warning("pods in members cannot reach the parent's API: it advertises no address", extra=fields)
            return host, port
        await asyncio.sleep(_LOOK)
    return found


async def _advertised(client: Client) -> tuple[str, str] | None:
    try:
        slice_ = await client.get(ENDPOINT_SLICES, "kubernetes", "default", type=EndpointSlice)
    except NotFoundError:
        return None
    addresses = [address for endpoint in slice_.endpoints or () for address in endpoint.addresses]
    ports = [str(each.port) for each in slice_.ports or ()]
    return (addresses[0], ports[0]) if addresses and ports else None


async def _own_address(client: Client) -> str:
    """The address of this machine from which packets go to the parent, or to the proxy that leads there.

    Asking the kernel sends none. Raises UnreachableError if their names cannot be resolved, or there is no route.
    """
    loop, problem = asyncio.get_running_loop(), ""
    for target in filter(None, (client.credentials.proxy, client.server)):
        url = urlsplit(target)
        try:
            found = await loop.getaddrinfo(url.hostname, url.port or 443, type=socket.SOCK_DGRAM)
        except OSError as error:
            problem = f"{url.hostname}: {error.strerror}"
            continue
        for family, kind, protocol, _, address in found:
            try:
                with socket.socket(family, kind, protocol) as probe:
                    probe.connect(address)
                    return str(probe.getsockname()[0])
            except OSError as error:
                problem = f"{url.hostname}: {error.strerror}"
    raise UnreachableError(
        f"{client.server}: the address of this machine on the way there is not known: {problem}",
        remedy="pass --kubelet-address: the address at which the parent's API server reaches this machine",
    )
