"""The process: watches MemberClusters and supervises one Member for each.

Owns the TaskGroup, the signals, which member is served under which name, and the doubt about all of them together (the
freeze). A MemberCluster that is added or deleted while this runs is served or left. What is changed in one is taken up
where it is served; only what needs another connection makes it be served anew. One that cannot be served says why and
is tried again with growing pauses, and the others do not notice.
"""

from __future__ import annotations

import asyncio
import logging
import random
import resource
import signal
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, decode
from vk_provider.config import Settings
from vk_provider.errors import ConfigError, UnreachableError, VkError
from vk_provider.kube.backoff import full_jitter
from vk_provider.kube.client import Client
from vk_provider.kube.credentials import Credentials
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Object
from vk_provider.member import Member
from vk_provider.parent import connect
from vk_provider.sync.membership import leave
from vk_provider.sync.membership.access import another_cluster
from vk_provider.sync.membership.kubeconfig import KubeconfigChangedError
from vk_provider.sync.membership.report import Report
from vk_provider.sync.nodes.lease import renew
from vk_provider.translate.state.freeze import Freeze

log = logging.getLogger(__name__)

_RETRY_CAP: Final = 10.0  # seconds between attempts at a member that cannot be served
_GIVE_UP_LEAVING: Final = 30.0  # seconds that a member which is to leave may be unreachable


async def run(credentials: Credentials, settings: Settings) -> None:
    """Serves all MemberClusters of the parent until SIGTERM or SIGINT.

    A parent that does not answer is waited for. Raises what no waiting can heal (see connect).
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
class Served:
    """A MemberCluster that is being served: as it is now, by whom, and what it would take to serve it anew."""

    raw: Object
    connection: Any
    report: Report
    member: Member | None = None
    task: asyncio.Task[None] | None = None
    stopping: bool = False


class App:
    """See the module's text."""

    def __init__(self, client: Client, settings: Settings) -> None:
        self._client, self._settings = client, settings
        self._clusters: Informer[Object] = Informer(client, MEMBER_CLUSTERS, Object)
        self._served: dict[str, Served] = {}
        self._freeze = Freeze()
        self._stopping = False
        self._claimed: dict[str, str] = {}  # cluster UID -> name of the MemberCluster that serves it
        self._rng = random.Random()
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Serves until cancelled."""
        self._parent = await connect(self._client, self._settings, self._freeze)
        self._clusters.on_change(lambda _before, _after: self._changed.set())
        async with asyncio.TaskGroup() as group:
            parent = self._parent
            for task in (parent.namespaces.run(), parent.services.run(), parent.recorder.run(), self._clusters.run()):
                group.create_task(task)
            await parent.namespaces.synced.wait()
            await parent.services.synced()
            await self._clusters.synced.wait()
            log.info("started", extra={"parent": self._client.server, "members": len(self._clusters.items)})
            try:
                while True:
                    self._changed.clear()
                    await self._follow(group)
                    await self._changed.wait()
            finally:
                self._stopping = True

    async def _follow(self, group: asyncio.TaskGroup) -> None:
        """Starts, restarts and stops supervision so that it fits the MemberClusters that there are."""
        clusters = dict(self._clusters.items)  # as they are now: they may change while a member is being stopped
        self._freeze.members(clusters)
        wanted = {name: _connection(raw) for name, raw in clusters.items()}
        for name, served in list(self._served.items()):
            if wanted.get(name) != served.connection and served.task is not None:
                served.stopping = True
                served.task.cancel()
                await asyncio.gather(served.task, return_exceptions=True)
                del self._served[name]
        for name, raw in clusters.items():
            served_already = self._served.get(name)
            if served_already is None:
                served = Served(raw, wanted[name], Report(self._client, raw, self._parent.recorder))
                self._served[name] = served
                served.task = group.create_task(self._supervise(served), name=f"member {name}")
            elif served_already.raw.metadata.resource_version != raw.metadata.resource_version:
                await self._take_up(served_already, raw)

    async def _take_up(self, served: Served, raw: Object) -> None:
        """Another version of a MemberCluster, to be served as it is served now."""
        changed = _wish(served.raw) != _wish(raw)
        served.raw = raw
        await served.report.follow(raw)
        if changed and served.member is not None:
            await served.member.follow(decode(raw))

    async def _supervise(self, served: Served) -> None:
        """Tries to serve one MemberCluster, again and again, until cancelled or left."""
        loop = asyncio.get_running_loop()
        name, report = served.raw.metadata.name, served.report
        attempt, failing_since = 0, None
        refusal: VkError | None = None  # to let it go, once it is deleted
        while True:
            started = loop.time()
            try:
                if await self._serve(served):
                    return
            except Exception as error:
                # A TaskGroup in which something fails while it is being cancelled forgets that it was. (`cancelling()`
                # does not tell: Python 3.11 leaves it set after any failure within a group whose body had ended.)
                if served.stopping or self._stopping:
                    raise asyncio.CancelledError from error
                cause = _cause(error)
                if isinstance(cause, KubeconfigChangedError):
                    continue
                if not isinstance(cause, VkError):
                    log.error("member failed", extra={"member": name}, exc_info=error)
                if isinstance(cause, UnreachableError):
                    self._freeze.doubt(name, loop.time())
                    if self._freeze.why:
                        await renew(self._client, decode(served.raw).node_name)
                else:
                    self._freeze.trust(name)  # it answers, or has another trouble
                cause = refusal or cause
                await report.say(False, getattr(cause, "reason", "Error"), str(cause) or type(cause).__name__)
                failing_since = failing_since or started
                patience = _GIVE_UP_LEAVING if isinstance(cause, UnreachableError) else 0.0
                try:
                    if loop.time() - failing_since >= patience and await self._abandoned(served):
                        return
                except ConfigError as error:
                    refusal = error
            attempt = 1 if loop.time() - started > 60 else attempt + 1
            await asyncio.sleep(full_jitter(attempt, base=1.0, cap=_RETRY_CAP, rng=self._rng))

    async def _abandoned(self, served: Served) -> bool:
        """Lets a MemberCluster go that is deleted and cannot be served. Raises ConfigError where that takes more."""
        name = served.raw.metadata.name
        if served.raw.metadata.deletion_timestamp is None:
            return False
        try:
            left = await leave.abandon(self._client, decode(served.raw))
        except ConfigError:
            raise
        except VkError as error:
            log.warning("member not left", extra={"member": name, "error": str(error)})
            return False
        log.warning("member left", extra={"member": name, "left": left.message})
        return True

    async def _serve(self, served: Served) -> bool:
        """One attempt. True where the membership has ended."""
        cluster, report = decode(served.raw), served.report
        name = cluster.metadata.name
        if cluster.metadata.deletion_timestamp is None:
            await leave.set_finalizer(self._client, cluster.metadata, present=True)
        served.member = member = Member(cluster, self._parent, self._settings, report)
        client, facts = await member.connect()
        try:
            self._claim(name, facts.cluster_uid)
            await self._recognize(served, client.server, facts.cluster_uid)
            await report.learn(node_name=cluster.node_name, version=facts.version, cluster_uid=facts.cluster_uid)
            await member.run(client, facts)
        finally:
            if self._claimed.get(facts.cluster_uid) == name:
                del self._claimed[facts.cluster_uid]
            await client.close()
        await leave.finish(self._client, cluster)
        await report.say(False, "Left", "the member has left")
        return True

    async def _recognize(self, served: Served, server: str, found: str) -> None:
        """A member is the cluster that was joined: what the parent believes to run there is not in any other."""
        known, metadata = served.report.cluster_uid, served.raw.metadata
        confirmed = metadata.annotations.get(wellknown.CONFIRM) == wellknown.CONFIRM_NEW_CLUSTER
        if known not in ("", found) and not confirmed:
            raise another_cluster(server, found, known, metadata.name)
        if confirmed:
            await served.report.forget_annotation(wellknown.CONFIRM)

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


def _connection(raw: Object) -> Any:
    """What makes a MemberCluster be served anew when it changes; everything, where it cannot be read."""
    deleted = raw.metadata.deletion_timestamp is not None
    try:
        spec = decode(raw).spec
    except ConfigError:
        return raw.metadata.uid, deleted, bytes(raw.spec)
    fixed = spec.kubeconfig_secret_ref, spec.node_name, spec.namespace_mapping, spec.api_access
    return raw.metadata.uid, deleted, fixed


def _wish(raw: Object) -> Any:
    """What people write of a MemberCluster, without its status."""
    return raw.metadata.generation, raw.metadata.annotations


def _cause(error: BaseException) -> BaseException:
    """The first error within nested groups: TaskGroups wrap what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _raise_file_limit() -> None:
    """Every watch is a connection; the soft limit of many systems (1,024) is for other kinds of programs."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
