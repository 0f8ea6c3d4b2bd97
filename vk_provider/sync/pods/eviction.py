"""Evicts a parent pod that its member has given up: sets the condition DisruptionTarget, then deletes it gracefully.

The deletion ends like any other: the parent pod exists until its member pod is known to be gone, so that a pod of a
StatefulSet is never in two places. A pod that must not be evicted is reported in an Event. Owns no state.
"""

from __future__ import annotations

import logging

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


class _OwnedPod(msgspec.Struct):
    metadata: OwnedMetadata


class Evictions:
    """See the module's text."""

    def __init__(self, parent: Client, statuses: StatusWriter, event: Event) -> None:
        self._parent, self._statuses, self._event = parent, statuses, event

    async def evict(self, parent: Pod, disruption: Disruption) -> bool:
        """Evicts a parent pod. False if it must not be evicted. Raises the errors of the parent's API server."""
        name, namespace, uid = parent.metadata.name, parent.metadata.namespace, parent.metadata.uid
        why = f"{disruption.reason}: {disruption.message}" if disruption.message else disruption.reason
        try:
            living = await self._parent.get(PODS, name, namespace, type=_OwnedPod)
            if obstacle := not_evictable(living.metadata):
                waits = f"{why}; the pod waits for the member, since {obstacle}; to give it up, delete it"
                self._event(parent, "Warning", wellknown.NOT_EVICTED, waits)
                return False
            await self._statuses.disrupt(parent, disruption)
            await self._parent.delete(PODS, name, namespace, uid=uid)
        except (NotFoundError, ConflictError):
            return True  # that incarnation no longer exists, which the watch will show
        self._event(parent, "Warning", wellknown.EVICTED, f"{why}; the pod is deleted, and its controller replaces it")
        log.info("pod evicted", extra={"pod": parent.metadata.key, "reason": disruption.reason})
        return True
