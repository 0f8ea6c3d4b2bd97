"""Writes the status of a MemberCluster: its conditions, and an Event when the reason of one changes.

    Ready          whether its virtual node accepts pods and they run
    Reachable      the health of the member: Healthy, Suspect, Frozen, Lost, Returning
    OrphansHeld    whether orphans in the member wait for a confirmation
    Permissions    whether the credential has every permission, or which features are not available
    CredentialValid  when the credential ends

Owns MemberCluster status; one Report per MemberCluster and process. What another client writes there, or a restored
backup undoes, is written again; so is, while `run` runs, what could not be written.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberClusterStatus
from vk_provider.errors import ConflictError, NotFoundError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Object, PartialObject
from vk_provider.kube.recorder import Recorder
from vk_provider.translate.state.rights import Rights

log = logging.getLogger(__name__)

# Reasons that need no attention: all is well, or a user asked for it.
_EXPECTED: Final = frozenset(
    {
        *("Serving", "Leaving", "Left", "Healthy", "Returning", wellknown.ORPHANS_RELEASED),
        *(wellknown.RIGHTS_GRANTED, wellknown.CREDENTIAL_VALID, wellknown.CONFIGURED),
    }
)

_RETRY_CAP: Final = 10.0  # seconds between attempts while the parent accepts no writes


class Report:
    """See the module's text."""

    def __init__(self, parent: Client, cluster: Object, recorder: Recorder) -> None:
        self._parent, self._metadata, self._recorder = parent, cluster.metadata, recorder
        status = _status(cluster)
        self.cluster_uid = status.cluster_uid
        self._facts: dict[str, str] = {}
        self._conditions = {condition.type: condition for condition in status.conditions}
        self._written = True
        self._unwritten = asyncio.Event()
        self._writing = asyncio.Lock()  # an older list must not be written after a newer one

    async def run(self) -> None:
        """Writes what the parent did not accept, as soon as it does, until cancelled."""
        backoff = Backoff(base=1.0, cap=_RETRY_CAP)
        while True:
            await self._unwritten.wait()
            self._unwritten.clear()
            await asyncio.sleep(backoff.failed())
            if not self._written:
                await self._write_all()
            if self._written:
                backoff.succeeded()

    async def update(self, cluster: Object) -> None:
        """Another version of the MemberCluster is what is reported on now. Its status is restored if it differs."""
        self._metadata = cluster.metadata
        status = _status(cluster)
        there = {condition.type: condition for condition in status.conditions}
        same = all(there.get(type) == condition for type, condition in self._conditions.items())
        if not same or (self._facts and self.cluster_uid != status.cluster_uid):
            await self._write_all()

    async def set_facts(self, *, node_name: str, version: str, cluster_uid: str) -> None:
        """Writes what the member is: its node, version and identity."""
        self.cluster_uid = cluster_uid
        self._facts = {"nodeName": node_name, "version": version, "clusterUid": cluster_uid}
        await self._write_all()

    async def set_version(self, version: str) -> None:
        """Writes the version of a member that was upgraded."""
        self._facts["version"] = version
        await self._write_all()

    def has(self, type: str) -> bool:
        """Whether the condition was ever set."""
        return type in self._conditions

    async def set_ready(self, ready: bool, reason: str, message: str) -> None:
        """Sets the Ready condition."""
        await self.set_condition(wellknown.READY, "True" if ready else "False", reason, message)

    async def set_rights(self, rights: Rights) -> None:
        """Sets the condition Permissions, which exists only if one was ever missing."""
        if rights.missing or wellknown.PERMISSIONS in self._conditions:
            await self.set_condition(wellknown.PERMISSIONS, *rights.condition)

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None:
        """Sets a condition; writes it if it differs."""
        before = self._conditions.get(type) or Condition(type)
        generation = self._metadata.generation
        same = (before.status, before.reason, before.message) == (status, reason, message)
        if same and before.observed_generation == generation and self._written:
            return
        since = before.last_transition_time if status == before.status else None
        since = since or self._parent.timestamp()
        if reason != before.reason:
            level, kind = (logging.INFO, "Normal") if reason in _EXPECTED else (logging.WARNING, "Warning")
            fields = {"member": self._metadata.name, "condition": type, "reason": reason, "detail": message}
            log.log(level, "member", extra=fields)
            self._recorder.event(MEMBER_CLUSTERS, self._metadata, kind, reason, message)
        self._conditions[type] = Condition(type, status, reason, message, since, generation)
        await self._write_all()

    async def remove_annotation(self, name: str) -> None:
        """Removes an annotation of an administrator that has been acted on. Never raises."""
        body = {"metadata": {"uid": self._metadata.uid, "annotations": {name: None}}}
        try:
            await self._parent.patch(MEMBER_CLUSTERS, self._metadata.name, body, type=PartialObject)
        except VkError as error:
            log.warning("annotation not removed", extra={"member": self._metadata.name, "error": str(error)})

    async def _write_all(self) -> None:
        done = False
        try:
            async with self._writing:  # the list is replaced as a whole
                conditions = [_written(each) for each in self._conditions.values()]
                done = await self._write({**self._facts, "conditions": conditions})
        finally:  # also if it is cancelled
            self._written = done
            if not done:
                self._unwritten.set()

    async def _write(self, status: dict[str, Any]) -> bool:
        """Whether it was written. Never raises: the work goes on without its report."""
        body = {
            "metadata": {"uid": self._metadata.uid},
            "status": {"observedGeneration": self._metadata.generation, **status},
        }
        try:
            await self._parent.patch(
                MEMBER_CLUSTERS, self._metadata.name, body, type=PartialObject, subresource="status"
            )
        except (NotFoundError, ConflictError):
            pass  # deleted meanwhile
        except VkError as error:
            level = logging.WARNING if self._written else logging.DEBUG
            log.log(level, "status not written", extra={"member": self._metadata.name, "error": str(error)})
            return False
        return True


def _status(cluster: Object) -> MemberClusterStatus:
    try:
        return msgspec.json.decode(cluster.status, type=MemberClusterStatus)
    except msgspec.DecodeError:
        return MemberClusterStatus()  # written by something else; it is replaced


def _written(condition: Condition) -> dict[str, Any]:
    """Every field that the schema requires, also if it is empty."""
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
        "observedGeneration": condition.observed_generation,
    }
