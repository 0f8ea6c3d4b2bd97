"""Supervises one MemberCluster: tries to serve it, again and again, until it is cancelled or the membership has ended.

    attempt: finalizer -> connection, tried again and again -> claim -> the cluster that was joined -> Member.run
             meanwhile: Unserved, from the first moment until the lists of the member are complete
    failure: Ready condition, pause (Backoff); a member that is to leave may be abandoned

Owns the Health of the member, which outlives attempts. A MemberCluster that cannot be served reports why and is tried
again with growing pauses; the others do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, decode
from vk_provider.config import Settings
from vk_provider.errors import ConfigError, UnreachableError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.objects import Object
from vk_provider.member import Member
from vk_provider.observable import Observable
from vk_provider.parent import Parent
from vk_provider.sync.membership import leave
from vk_provider.sync.membership.abandon import Abandonment
from vk_provider.sync.membership.access import another_cluster
from vk_provider.sync.membership.claims import Claims
from vk_provider.sync.membership.connection import Connection, ReconnectError
from vk_provider.sync.membership.credential import CredentialLoop
from vk_provider.sync.membership.report import Report
from vk_provider.sync.state.health import initial_health
from vk_provider.translate.state.health import Health
from vk_provider.unserved import Unserved

log = logging.getLogger(__name__)

_RETRY_CAP: Final = 10.0  # seconds between attempts
_STABLE: Final = 60.0  # seconds of an attempt after which the next failure is the first one again


class Supervisor:
    """One MemberCluster of this process."""

    def __init__(self, raw: Object, parent: Parent, settings: Settings, claims: Claims) -> None:
        self._raw, self._parent, self._settings, self._claims = raw, parent, settings, claims
        self._report = Report(parent.client, raw, parent.recorder)
        self._abandonment = Abandonment(parent.client)
        self._backoff = Backoff(base=1.0, cap=_RETRY_CAP)
        self._cluster: Observable[MemberCluster] | None = None  # during an attempt
        self._health: Health | None = None  # once its Nodes have been read
        self._connected_at = math.inf  # loop time, of the current attempt
        self._stopping = False

    @property
    def connection(self) -> Any:
        """What was used to connect, see `connection`: a change of it needs a new supervisor."""
        return connection(self._raw)

    async def update(self, raw: Object) -> None:
        """Applies another version of the MemberCluster in place. Its connection must be the same."""
        if raw.metadata.resource_version == self._raw.metadata.resource_version:
            return
        changed = _specified(self._raw) != _specified(raw)
        self._raw = raw
        if changed and self._cluster is not None:
            self._cluster.set(decode(raw))
        await self._report.update(raw)

    def stop(self) -> None:
        """Must be called before `run` is cancelled.

        A TaskGroup in which something fails while it is being cancelled forgets that it was, and `Task.cancelling()`
        does not tell: Python 3.11 leaves it set after any failure within a group whose body had ended.
        """
        self._stopping = True

    async def run(self) -> None:
        """Returns when the membership has ended."""
        loop = asyncio.get_running_loop()
        while True:
            started, self._connected_at = loop.time(), math.inf
            try:
                return await self._serve()
            except Exception as error:
                if self._stopping:
                    raise asyncio.CancelledError from error
                # No local variable may keep the error: its traceback keeps the member, and so all of its lists.
                if isinstance(_cause(error), ReconnectError):
                    continue
                if loop.time() - self._connected_at > _STABLE:
                    self._backoff.succeeded()
                    self._abandonment.served()
                if self._connected_at < math.inf:
                    started = loop.time()  # it answered until now, and may answer again
                if await self._failed(error, _cause(error), started):
                    return
            await asyncio.sleep(self._backoff.failed())

    async def _serve(self) -> None:
        """One attempt. Returns when the membership has ended."""
        cluster, report = decode(self._raw), self._report
        name = cluster.metadata.name
        if cluster.metadata.deletion_timestamp is None:
            await leave.set_finalizer(self._parent.client, cluster.metadata, present=True)
        if self._health is None:
            now = asyncio.get_running_loop().time()
            self._health = await initial_health(self._parent.client, cluster, now)
        self._cluster = Observable(decode(self._raw))
        reference = cluster.spec.kubeconfig_secret_ref
        try:
            async with (
                Connection(self._parent.client, reference, name, report.cluster_uid) as connection,
                asyncio.TaskGroup() as tasks,
            ):
                credential = CredentialLoop(connection.validity, report, self._parent.client.server_time, name)
                loops = (connection.run(), report.run(), credential.run())
                background = [tasks.create_task(each) for each in loops]
                unserved = Unserved(self._cluster, connection, self._parent, report, self._health)
                if not self._confirmed:  # else another cluster is to be accepted
                    unserved.start(tasks)
                drained = await self._connect(connection)
                if drained:
                    await self._serve_connected(connection, unserved, self._cluster)
                await unserved.stop()
                for task in background:
                    task.cancel()
        finally:
            self._cluster = None
        if drained:
            await leave.finish(self._parent.client, cluster)
            await report.set_ready(False, "Left", "the member has left")

    async def _connect(self, connection: Connection) -> bool:
        """Tries until it is connected, or the membership has ended: False."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            connection.changed.clear()
            try:
                await connection.connect(self._parent.starts)
                self._connected_at = loop.time()
                return True
            except VkError as error:
                if await self._failed(error, error, started):
                    return False
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._backoff.failed()):
                    await connection.changed.wait()

    async def _serve_connected(
        self, connection: Connection, unserved: Unserved, cluster: Observable[MemberCluster]
    ) -> None:
        """Returns when nothing of ours is left in the member."""
        report, facts = self._report, connection.facts
        with self._claims.claim(facts.cluster_uid, self._raw.metadata.name):
            await self._recognize(connection.client.server, facts.cluster_uid)
            node = cluster.value.node_name
            await report.set_facts(node_name=node, version=facts.version, cluster_uid=facts.cluster_uid)
            await report.set_rights(connection.rights)
            await Member(cluster, connection, self._parent, self._settings, report, unserved).run()

    @property
    def _confirmed(self) -> bool:
        """Whether an administrator confirms that another cluster takes the place of the one that was joined."""
        confirmed = self._raw.metadata.annotations.get(wellknown.CONFIRM)
        return confirmed == wellknown.CONFIRM_NEW_CLUSTER + self._report.cluster_uid

    async def _recognize(self, server: str, uid: str) -> None:
        """A member must be the cluster that was joined: the pods of the parent run in that one, and in no other."""
        joined, metadata = self._report.cluster_uid, self._raw.metadata
        if joined not in ("", uid) and not self._confirmed:
            raise another_cluster(server, uid, joined, metadata.name)
        if self._confirmed:
            await self._report.remove_annotation(wellknown.CONFIRM)

    async def _failed(self, error: Exception, cause: BaseException, started: float) -> bool:
        """Reports a failed attempt. Whether the membership has ended."""
        name, freeze, now = self._raw.metadata.name, self._parent.freeze, asyncio.get_running_loop().time()
        if not isinstance(cause, VkError):
            log.error("member failed", extra={"member": name}, exc_info=error)
        if not self._report.cluster_uid:  # else its probes tell
            if isinstance(cause, UnreachableError):
                freeze.silent(name, now)
            else:
                freeze.answers(name)  # or it has another problem
        shown = self._abandonment.refusal or cause
        await self._report.set_ready(False, getattr(shown, "reason", "Error"), str(shown) or type(shown).__name__)
        try:
            return await self._abandonment.after_failure(decode(self._raw), cause, started, now)
        except ConfigError:  # the MemberCluster cannot be read
            return False


def connection(raw: Object) -> Any:
    """What of a MemberCluster needs a new connection when it changes; everything, if it cannot be read."""
    deleted = raw.metadata.deletion_timestamp is not None
    try:
        spec = decode(raw).spec
    except ConfigError:
        return raw.metadata.uid, deleted, bytes(raw.spec)
    fixed = spec.kubeconfig_secret_ref, spec.node_name, spec.namespace_mapping, spec.api_access
    return raw.metadata.uid, deleted, fixed


def _specified(raw: Object) -> Any:
    """What users write in a MemberCluster, without its status."""
    return raw.metadata.generation, raw.metadata.annotations


def _cause(error: BaseException) -> BaseException:
    """The first error within nested groups: TaskGroups wrap what went wrong."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
