"""What a MemberCluster says of itself: its conditions, and an Event when the reason of one changes.

    Ready          whether its virtual node takes pods and they run
    Reachable      what is believed of the member: Healthy, Suspect, Frozen, Lost, Returning
    OrphansHeld    whether member pods that the parent does not know wait for a confirmation

Owner of MemberCluster status; one Report per MemberCluster and process. What is written there by somebody else, or
undone by a restored backup, is written again; so is, while `run` runs, what could not be written.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberClusterStatus
from vk_provider.errors import ConflictError, NotFoundError, VkError
from vk_provider.kube.backoff import full_jitter
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Object, PartialObject
from vk_provider.kube.recorder import Recorder

log = logging.getLogger(__name__)

# Reasons that are no trouble: all is well, or somebody asked for it.
_WANTED: Final = frozenset({"Serving", "Leaving", "Left", "Healthy", "Returning", "Released"})

_RETRY_CAP: Final = 10.0  # seconds between attempts while the parent takes no writes


class Report:
    """See the module's text."""

    def __init__(self, parent: Client, cluster: Object, recorder: Recorder) -> None:
        self._parent, self._metadata, self._recorder = parent, cluster.metadata, recorder
        status = _status(cluster)
        self.cluster_uid = status.cluster_uid
        self._known: dict[str, str] = {}
        self._said = {condition.type: condition for condition in status.conditions}
        self._written = True
        self._unwritten = asyncio.Event()
        self._rng = random.Random()
        self._turn = asyncio.Lock()  # an older list must not come after a newer one

    async def run(self) -> None:
        """Writes what the parent did not take, as soon as it does, until cancelled."""
        failures = 0  # in a row
        while True:
            await self._unwritten.wait()
            self._unwritten.clear()
            failures += 1
            await asyncio.sleep(full_jitter(failures, base=1.0, cap=_RETRY_CAP, rng=self._rng))
            if not self._written:
                await self._write_all()
            if self._written:
                failures = 0

    async def follow(self, cluster: Object) -> None:
        """Another version of the MemberCluster is what is reported on now. Its status is put right."""
        self._metadata = cluster.metadata
        status = _status(cluster)
        there = {condition.type: condition for condition in status.conditions}
        same = all(there.get(type) == condition for type, condition in self._said.items())
        if not same or (self._known and self.cluster_uid != status.cluster_uid):
            await self._write_all()

    async def learn(self, *, node_name: str, version: str, cluster_uid: str) -> None:
        """Writes what is known of the member."""
        self.cluster_uid = cluster_uid
        self._known = {"nodeName": node_name, "version": version, "clusterUid": cluster_uid}
        await self._write(self._known)

    async def say(self, ready: bool, reason: str, message: str) -> None:
        """The Ready condition is this."""
        await self.tell(wellknown.READY, "True" if ready else "False", reason, message)

    async def tell(self, type: str, status: str, reason: str, message: str) -> None:
        """A condition is this; written where it is another one."""
        before = self._said.get(type) or Condition(type)
        generation = self._metadata.generation
        same = (before.status, before.reason, before.message) == (status, reason, message)
        if same and before.observed_generation == generation and self._written:
            return
        since = before.last_transition_time if status == before.status else None
        since = since or self._parent.server_time().strftime("%Y-%m-%dT%H:%M:%SZ")
        if reason != before.reason:
            level, kind = (logging.INFO, "Normal") if reason in _WANTED else (logging.WARNING, "Warning")
            fields = {"member": self._metadata.name, "condition": type, "reason": reason, "detail": message}
            log.log(level, "member", extra=fields)
            self._recorder.event(MEMBER_CLUSTERS, self._metadata, kind, reason, message)
        self._said[type] = Condition(type, status, reason, message, since, None, generation)
        await self._write_all()

    async def forget_annotation(self, name: str) -> None:
        """Takes off what somebody stated there: it has been heard. Never raises."""
        body = {"metadata": {"uid": self._metadata.uid, "annotations": {name: None}}}
        try:
            await self._parent.patch(MEMBER_CLUSTERS, self._metadata.name, body, type=PartialObject)
        except VkError as error:
            log.warning("annotation not removed", extra={"member": self._metadata.name, "error": str(error)})

    async def _write_all(self) -> None:
        async with self._turn:  # the list is replaced as a whole
            conditions = [_written(each) for each in self._said.values()]
            self._written = await self._write({**self._known, "conditions": conditions})
        if not self._written:
            self._unwritten.set()

    async def _write(self, status: dict[str, Any]) -> bool:
        """Whether it was written. Never raises: a report is not the work."""
        body = {
            "metadata": {"uid": self._metadata.uid},
            "status": {"observedGeneration": self._metadata.generation, **status},
        }
        try:
            await self._parent.patch(
                MEMBER_CLUSTERS, self._metadata.name, body, type=PartialObject, subresource="status"
            )
        except (NotFoundError, ConflictError):
            pass  # gone meanwhile
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
    """All that the schema asks for, also where it is empty."""
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": condition.last_transition_time,
        "observedGeneration": condition.observed_generation,
    }
