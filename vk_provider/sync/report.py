"""What a MemberCluster says of itself: its Ready condition, and an Event when that changes.

Owner of MemberCluster status; one Report per MemberCluster and process.
"""

from __future__ import annotations

import logging
from typing import Any, Final

import msgspec

from vk_provider.api import words
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberClusterStatus
from vk_provider.errors import ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Named, Object
from vk_provider.kube.recorder import Recorder

log = logging.getLogger(__name__)

_WANTED: Final = frozenset({"Leaving", "Left"})  # not ready, because somebody asked for it
_EVENT_TYPES: Final = {logging.INFO: "Normal", logging.WARNING: "Warning"}


class Report:
    """See the module's text."""

    def __init__(
        self,
        parent: Client,
        cluster: Object,
        recorder: Recorder,
    ) -> None:
        self._parent, self._metadata, self._recorder = parent, cluster.metadata, recorder
        try:
            condition = msgspec.json.decode(cluster.status, type=MemberClusterStatus).condition(words.READY)
        except msgspec.DecodeError:
            condition = None  # written by something else; it is replaced
        self._said = (condition.status, condition.reason, condition.message) if condition else ("", "", "")
        self._since = (condition.last_transition_time if condition else None) or ""

    async def learn(self, **facts: str) -> None:
        """Writes what is known of the member (status fields in camelCase)."""
        await self._write(facts)

    async def say(self, ready: bool, reason: str, message: str) -> None:
        """Writes the Ready condition where it is another one."""
        status = "True" if ready else "False"
        if (status, reason, message) == self._said:
            return
        if status != self._said[0] or not self._since:
            self._since = self._parent.server_time().strftime("%Y-%m-%dT%H:%M:%SZ")
        if reason != self._said[1]:
            level = logging.INFO if ready or reason in _WANTED else logging.WARNING
            log.log(level, "member", extra={"member": self._metadata.name, "reason": reason, "detail": message})
            self._recorder.event(MEMBER_CLUSTERS, self._metadata, _EVENT_TYPES[level], reason, message)
        self._said = (status, reason, message)
        condition = {
            "type": words.READY,
            "status": status,
            "reason": reason,
            "message": message,
            "lastTransitionTime": self._since,
            "observedGeneration": self._metadata.generation,
        }
        if not await self._write({"conditions": [condition]}):
            self._said = ("", "", "")

    async def _write(self, status: dict[str, Any]) -> bool:
        """Whether it was written. Never raises: a report is not the work."""
        body = {
            "metadata": {"uid": self._metadata.uid},
            "status": {"observedGeneration": self._metadata.generation, **status},
        }
        try:
            await self._parent.patch(MEMBER_CLUSTERS, self._metadata.name, body, type=Named, subresource="status")
        except (NotFoundError, ConflictError):
            pass  # gone meanwhile
        except VkError as error:
            log.warning("status not written", extra={"member": self._metadata.name, "error": str(error)})
            return False
        return True
