"""Deletions on either side: of member pods that no parent pod needs, and of parent pods whose end is complete.

Every deletion carries the UID of what was decided about. Owns no state: `PodMemory` is the loop's.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import ConflictError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Pod, pod_phase
from vk_provider.kube.resources import PODS
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.member_pods import MemberPods
from vk_provider.sync.pods.protocols import Brake, PodMemory
from vk_provider.sync.pods.status import StatusWriter
from vk_provider.translate.pods.decide import Delete

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 5.0  # seconds until a pod whose cached copy differs from the live object is read again


class Removals:
    """See the module's text."""

    def __init__(
        self,
        parent: Client,
        member: Client,
        pods: PodCaches,
        brake: Brake,
        statuses: StatusWriter,
        member_pods: MemberPods,
    ) -> None:
        self._names, self._parent, self._member, self._pods = pods.names, parent, member, pods
        self._brake, self._statuses, self._member_pods = brake, statuses, member_pods

    async def delete(self, parent: Pod, member: Pod, action: Delete, memory: PodMemory) -> float | None:
        """Deletes the member pod of a parent pod, or one that an earlier parent pod of that name left behind."""
        ours = parent.metadata.uid == member.metadata.annotations.get(wellknown.PARENT_UID)
        if not ours and (delay := self._brake.delay(member)) is not None:
            return delay
        asked = (action.uid, action.grace_seconds)
        if memory.deleting != asked and await _delete_if_present(
            self._member.delete(
                PODS,
                member.metadata.name,
                member.metadata.namespace,
                uid=action.uid,
                grace_seconds=action.grace_seconds,
            )
        ):
            memory.deleting = asked
        if ours and not pod_phase(parent).ended:
            await self._statuses.reflect(parent, member)
        return None

    async def finish(self, parent: Pod, memory: PodMemory) -> float | None:
        """The member pod no longer exists: deletes the parent pod for good."""
        if memory.finished == parent.metadata.uid:
            return None  # the watch will show it; a finalizer may hold it
        if memory.create_unknown:
            await self._member_pods.resolve_conflict(parent, memory)
            if self._names.member_key(parent.metadata.key) in self._pods.member.items:
                return 0.0
        if parent.metadata.finalizers and not pod_phase(parent).ended:
            # It outlives its deletion for a controller that waits for its end, as a Job does: a kubelet gives it one.
            await self._statuses.fail(parent, "", "")
        name, namespace, uid = parent.metadata.name, parent.metadata.namespace, parent.metadata.uid
        if not await _delete_if_present(self._parent.delete(PODS, name, namespace, uid=uid, grace_seconds=0)):
            return _LOOK_AGAIN  # the watch will show it
        memory.finished = uid
        return None

    async def delete_orphan(self, key: str, member: Pod) -> float | None:
        """Deletes a member pod whose parent pod does not exist, if the parent itself, asked now, agrees."""
        if (delay := self._brake.delay(member)) is not None:
            return delay
        namespace, name = key.split("/", 1)
        uid = member.metadata.annotations.get(wellknown.PARENT_UID)
        try:
            living = await self._parent.get(PODS, name, namespace, type=Pod)
            if living.metadata.uid == uid:
                return _LOOK_AGAIN
        except NotFoundError:
            pass
        log.info("orphan deleted", extra={"pod": key, "node": self._names.node})
        await _delete_if_present(
            self._member.delete(PODS, member.metadata.name, member.metadata.namespace, uid=member.metadata.uid)
        )
        return None


async def _delete_if_present(delete: Awaitable[None]) -> bool:
    """Awaits a deletion. False if that incarnation does not exist any more."""
    try:
        await delete
    except (NotFoundError, ConflictError):
        return False
    return True
