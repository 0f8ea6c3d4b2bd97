"""Evicts a parent pod that its member has given up: sets the condition DisruptionTarget, then deletes it gracefully.

The deletion ends like any other: the parent pod exists until its member pod is known to be gone, so that a pod of a
StatefulSet is never in two places. A pod that must not be evicted is reported in an Event. Owns no state.
"""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.errors import ConflictError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import OwnedMetadata, Pod
from vk_provider.kube.resources import PODS
from vk_provider.sync.pods.protocols import Event
from vk_provider.sync.pods.status import StatusWriter
from vk_provider.translate.pods.disruption import Disruption, not_evictable

log = logging.getLogger(__name__)

LOOK_AGAIN: Final = 30.0  # seconds until a pod that must not be evicted yet is looked at again


class OwnedPod(msgspec.Struct):
    """A parent pod with its owners, which the caches do not keep."""

    metadata: OwnedMetadata


class Evictions:
    """See the module's text."""

    def __init__(self, parent: Client, statuses: StatusWriter, event: Event) -> None:
        self._parent, self._statuses, self._event = parent, statuses, event

    async def evict(self, parent: Pod, disruption: Disruption) -> bool:
        """Evicts a parent pod. False if it must not be evicted. Raises the errors of the parent's API server."""
        if (living := await self.living(parent)) is None:
            return True
        if obstacle := not_evictable(living.metadata):
            self.report_waiting(parent, _text(disruption), obstacle)
            return False
        await self.carry_out(parent, disruption)
        return True

    async def living(self, parent: Pod) -> OwnedPod | None:
        """The pod as it is now; None if that incarnation no longer exists, or is being deleted."""
        try:
            found = await self._parent.get(PODS, parent.metadata.name, parent.metadata.namespace, type=OwnedPod)
        except NotFoundError:
            return None
        same = found.metadata.uid == parent.metadata.uid and found.metadata.deletion_timestamp is None
        return found if same else None

    async def carry_out(self, parent: Pod, disruption: Disruption) -> None:
        """Evicts a pod that may be evicted. Raises the errors of the parent's API server."""
        await self._statuses.disrupt(parent, disruption)
        name, namespace, uid = parent.metadata.name, parent.metadata.namespace, parent.metadata.uid
        try:
            await self._parent.delete(PODS, name, namespace, uid=uid)
        except (NotFoundError, ConflictError):
            return  # that incarnation no longer exists
        message = f"{_text(disruption)}; the pod is deleted, and its controller replaces it"
        self._event(parent, "Warning", wellknown.EVICTED, message)
        log.info("pod evicted", extra={"pod": parent.metadata.key, "reason": disruption.reason})

    def report_waiting(self, parent: Pod, why: str, obstacle: str) -> None:
        """Reports that a pod waits for its member, since it is not evicted."""
        message = f"{why}; the pod waits for the member, since {obstacle}; to give it up, delete it"
        self._event(parent, "Warning", wellknown.NOT_EVICTED, message)


def _text(disruption: Disruption) -> str:
    return f"{disruption.reason}: {disruption.message}" if disruption.message else disruption.reason
