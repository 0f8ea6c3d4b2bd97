"""The process: watches MemberClusters and supervises one Member for each.

Owns the TaskGroup, the signals, and which member is served under which name. A MemberCluster that is added, changed or
deleted while this runs is served, served anew, or left; one that cannot be served says why and is tried again with
growing pauses, and the others do not notice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import signal
import socket
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import msgspec

from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster, decode
from vk_provider.config import Settings
from vk_provider.errors import ConfigError, NotFoundError, UnreachableError, VkError
from vk_provider.kube.auth import IN_CLUSTER
from vk_provider.kube.client import Client
from vk_provider.kube.credentials import Credentials
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Named, Object
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import ENDPOINT_SLICES, NAMESPACES
from vk_provider.kube.workqueue import full_jitter
from vk_provider.member import KubeconfigChangedError, Member, Parent
from vk_provider.sync import leave
from vk_provider.sync.parent_services import ParentServices
from vk_provider.sync.report import Report

log = logging.getLogger(__name__)

_RETRY_CAP: Final = 10.0  # seconds between attempts at a member that cannot be served
_GIVE_UP_LEAVING: Final = 30.0  # seconds that a member which is to leave may be unreachable


async def run(credentials: Credentials, settings: Settings) -> None:
    """Serves all MemberClusters of the parent until SIGTERM or SIGINT.

    Raises ConfigError where the parent has no MemberCluster resource, and the parent's errors at start.
    """
    _raise_file_limit()
    async with Client(credentials) as client:
        app = App(client, settings)
        main = asyncio.ensure_future(app.run())
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, main.cancel)
        try:
            await main
        except asyncio.CancelledError:
            log.info("stopped")  # the Nodes stay: deleting them would make the parent delete their pods


@dataclass
class _Served:
    """A MemberCluster that is being served, and for what version of it."""

    version: tuple[str, int, bool]
    task: asyncio.Task[None]


class App:
    """See the module's text."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self._clusters: Informer[Object] = Informer(client, MEMBER_CLUSTERS, Object)
        self._served: dict[str, _Served] = {}
        self._claimed: dict[str, str] = {}  # cluster UID -> name of the MemberCluster that serves it
        self._rng = random.Random()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Serves until cancelled."""
        self._parent = await self._connect()
        self._clusters.on_change(lambda _before, _after: self._changed.set())
        async with asyncio.TaskGroup() as group:
            parent = self._parent
            for task in (parent.namespaces.run(), parent.services.run(), parent.recorder.run(), self._clusters.run()):
                group.create_task(task)
            await parent.namespaces.synced.wait()
            await parent.services.synced()
            await self._clusters.synced.wait()
            log.info("started", extra={"parent": self._client.server, "members": len(self._clusters.items)})
            while True:
                self._changed.clear()
                await self._follow(group)
                await self._changed.wait()

    async def _connect(self) -> Parent:
        system = await self._client.get(NAMESPACES, "kube-system", type=Named)
        try:
            await self._client.list(MEMBER_CLUSTERS, type=Named)
        except NotFoundError as error:
            raise ConfigError(
                f"{self._client.server} does not know MemberClusters",
                reason="CrdMissing",
                remedy="kubectl apply -f manifests/crds, or join a member, which does it",
            ) from error
        host, port = await _address(self._client)
        namespaces: Informer[Named] = Informer(self._client, NAMESPACES, Named)
        return Parent(
            client=self._client,
            uid=system.metadata.uid,
            host=host,
            port=port,
            kubelet_address=self._settings.kubelet_address or _own_address(self._client),
            namespaces=namespaces,
            services=ParentServices(self._client),
            recorder=Recorder(self._client),
        )

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Starts, restarts and stops supervision so that it fits the MemberClusters that there are."""
        clusters = dict(self._clusters.items)  # as they are now: they may change while a member is being stopped
        wanted = {
            name: (raw.metadata.uid, raw.metadata.generation, raw.metadata.deletion_timestamp is not None)
            for name, raw in clusters.items()
        }
        for name, served in list(self._served.items()):
            if wanted.get(name) != served.version:
                served.task.cancel()
                await asyncio.gather(served.task, return_exceptions=True)
                del self._served[name]
        for name, version in wanted.items():
            if name not in self._served:
                task = group.create_task(self._supervise(clusters[name]), name=f"member {name}")
                self._served[name] = _Served(version, task)

    async def _supervise(self, raw: Object) -> None:
        """Tries to serve one MemberCluster, again and again, until cancelled or left."""
        loop = asyncio.get_running_loop()
        report = Report(self._client, raw, self._parent.recorder)
        attempt, failing_since = 0, None
        while True:
            started = loop.time()
            try:
                if await self._serve(decode(raw), report):
                    return
            except Exception as error:
                # A TaskGroup in which something fails while it is being cancelled forgets that it was.
                if (task := asyncio.current_task()) is not None and task.cancelling():
                    raise asyncio.CancelledError from error
                cause = _cause(error)
                if isinstance(cause, KubeconfigChangedError):
                    continue
                if not isinstance(cause, VkError):
                    log.error("member failed", extra={"member": raw.metadata.name}, exc_info=error)
                await report.say(False, getattr(cause, "reason", "Error"), str(cause) or type(cause).__name__)
                failing_since = failing_since or started
                patience = _GIVE_UP_LEAVING if isinstance(cause, UnreachableError) else 0.0
                if loop.time() - failing_since >= patience and await self._abandoned(raw):
                    return
            attempt = 1 if loop.time() - started > 60 else attempt + 1
            await asyncio.sleep(full_jitter(attempt, base=1.0, cap=_RETRY_CAP, rng=self._rng))

    async def _abandoned(self, raw: Object) -> bool:
        """Lets a MemberCluster go that is deleted and cannot be served."""
        if raw.metadata.deletion_timestamp is None:
            return False
        try:
            left = await leave.abandon(self._client, decode(raw))
        except VkError as error:
            log.warning("member not left", extra={"member": raw.metadata.name, "error": str(error)})
            return False
        log.warning("member left", extra={"member": raw.metadata.name, "left": left.message})
        return True

    async def _serve(self, cluster: MemberCluster, report: Report) -> bool:
        """One attempt. True where the membership has ended."""
        name = cluster.metadata.name
        if cluster.metadata.deletion_timestamp is None:
            await leave.set_finalizer(self._client, cluster.metadata, present=True)
        member = Member(cluster, self._parent, self._settings, report)
        client, facts = await member.connect()
        try:
            self._claim(name, facts.cluster_uid)
            await report.learn(nodeName=cluster.node_name, version=facts.version, clusterUid=facts.cluster_uid)
            await member.run(client, facts)
        finally:
            if self._claimed.get(facts.cluster_uid) == name:
                del self._claimed[facts.cluster_uid]
            await client.close()
        await leave.finish(self._client, cluster)
        await report.say(False, "Left", "the member has left")
        return True

    def _claim(self, name: str, uid: str) -> None:
        """One cluster is one member: two virtual nodes on one cluster would offer its capacity twice."""
        if uid == self._parent.uid:
            raise ConfigError("the kubeconfig leads to the parent itself", reason="MemberIsParent")
        other = self._claimed.setdefault(uid, name)
        if other != name:
            raise ConfigError(
                f"the kubeconfig leads to the cluster that is served as member {other} already",
                reason="AlreadyJoined",
                remedy=f"unjoin one of {other} and {name}",
            )


def _cause(error: BaseException) -> BaseException:
    """The first error within nested groups: TaskGroups wrap what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _address(client: Client) -> tuple[str, str]:
    """Host and port of the parent's API server for pods in members.

    What the provider itself uses, unless that means something only here (loopback, or a Service address inside of the
    parent): then the address that the API server advertises.
    """
    url = urlsplit(client.server)
    host, port = url.hostname or "", str(url.port or 443)
    if client.credentials.name != IN_CLUSTER and host not in ("localhost", "::1") and not host.startswith("127."):
        return host, port
    raw = await client.request("GET", ENDPOINT_SLICES.path("kubernetes", "default"))
    slice_ = msgspec.json.decode(raw)
    return slice_["endpoints"][0]["addresses"][0], str(slice_["ports"][0]["port"])


def _own_address(client: Client) -> str:
    """The address of this machine from which packets go to the parent; asking the kernel sends none."""
    url = urlsplit(client.server)
    with socket.socket(socket.AF_INET6 if ":" in (url.hostname or "") else socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((url.hostname, url.port or 443))
        return str(probe.getsockname()[0])


def _raise_file_limit() -> None:
    """Every watch is a connection; the soft limit of many systems (1,024) is for other kinds of programs."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
