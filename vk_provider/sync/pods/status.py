"""Writes the status of parent pods: only what changed, and only once.

The writer remembers when both sides last agreed, as a hash of the bytes on both sides: an event that changes neither
costs no decoding. `PodLoop` calls it, never twice at a time for one pod.
"""

from __future__ import annotations

import logging
from typing import Any

from vk_provider.errors import ConflictError, NotFoundError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS
from vk_provider.translate.pods import disruption as disruptions
from vk_provider.translate.pods import status as translate

log = logging.getLogger(__name__)


class StatusWriter:
    """Status of the parent pods of one virtual node."""

    def __init__(self, parent: Client, parent_pods: Informer[Pod]) -> None:
        self._parent, self._parent_pods = parent, parent_pods
        self._agreed: dict[str, int] = {}  # parent key -> hash of both sides when they last agreed

    async def reflect(self, parent: Pod, member: Pod) -> None:
        """Makes the parent pod's status that of the member pod."""
        key = parent.metadata.key
        if self._agreed.get(key) == _signature(parent, member):
            return
        wanted = translate.reflected(parent, member, now=self._parent.timestamp())
        patch = translate.status_patch(parent, wanted)
        if patch is None:
            self._agreed[key] = _signature(parent, member)
        elif written := await self._patch(parent, patch):
            # Another client may have written what the watch has not shown yet: then the answer is not what is wanted.
            agreed = translate.status_patch(written, wanted) is None
            self._parent_pods.observe(written, notify=not agreed or _changed(parent, written))
            if agreed:
                self._agreed[key] = _signature(written, member)

    async def wait(self, parent: Pod, reason: str, message: str) -> None:
        """Shows that no container of the pod can start yet, and why."""
        await self._write(parent, translate.status_patch(parent, translate.waiting(parent, reason, message)))

    async def fail(self, parent: Pod, reason: str, message: str) -> None:
        """Makes the pod Failed, which is final."""
        await self._write(
            parent, translate.status_patch(parent, translate.failed(reason, message) | translate.observed(parent))
        )

    async def mark_not_ready(self, parent: Pod, message: str) -> None:
        """Makes the pod not Ready: its member is lost, and its state is unknown."""
        await self._write(parent, translate.not_ready_patch(parent, message, now=self._parent.timestamp()))

    async def disrupt(self, parent: Pod, disruption: disruptions.Disruption) -> None:
        """Shows that the pod is about to be evicted."""
        await self._write(parent, disruptions.patch(parent, disruption, now=self._parent.timestamp()))

    def forget(self, key: str) -> None:
        """Called when the parent pod is gone."""
        self._agreed.pop(key, None)

    async def _write(self, parent: Pod, patch: dict[str, Any] | None) -> None:
        if patch is not None and (written := await self._patch(parent, patch)):
            self._parent_pods.observe(written)

    async def _patch(self, parent: Pod, patch: dict[str, Any]) -> Pod | None:
        """The parent pod after the patch; None if this incarnation of it no longer exists."""
        for condition in patch["status"].get("conditions", ()):
            if "$patch" not in condition and condition.get("lastTransitionTime") is None:
                condition["lastTransitionTime"] = self._parent.timestamp()
        try:
            return await self._parent.patch(
                PODS,
                parent.metadata.name,
                patch,
                parent.metadata.namespace,
                type=Pod,
                patch_type=PatchType.STRATEGIC,
                subresource="status",
            )
        except (NotFoundError, ConflictError):
            return None


def _changed(parent: Pod, written: Pod) -> bool:
    """Whether the answer to a status write shows more than that write.

    A deletion or an edit that the watch has not shown yet arrives with the answer, and not again.
    """
    before, after = parent.metadata, written.metadata
    same = (
        before.deletion_timestamp == after.deletion_timestamp
        and before.deletion_grace_period_seconds == after.deletion_grace_period_seconds
        and before.labels == after.labels
        and before.annotations == after.annotations
        and before.finalizers == after.finalizers
    )
    return not same or bytes(parent.spec) != bytes(written.spec)


def _signature(parent: Pod, member: Pod) -> int:
    """Hash of everything that `translate.reflected` reads and that can change during a pod's life."""
    removed = member.metadata.deletion_timestamp is not None and parent.metadata.deletion_timestamp is None
    return hash(
        (
            parent.metadata.uid,
            parent.metadata.generation,
            bytes(parent.status),
            member.metadata.uid,
            removed,
            bytes(member.status),
        )
    )
