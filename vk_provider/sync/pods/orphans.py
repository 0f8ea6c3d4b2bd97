"""The brake on deleting orphans: member pods whose parent pod does not exist.

    an orphan --few of them--> deleted
        +-----more than 10, and more than half of the member's pods--> held, with a condition
                 held --an administrator confirms, or a second complete look finds the same--> these are deleted

The brake works at any time: when the provider starts, when a member returns, and while all is well. Owns which orphans
are held and which are released; reports to MemberState and to the condition OrphansHeld. Ends when cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject, Pod
from vk_provider.kube.resources import PODS
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.pods.orphans import is_orphan, too_many

log = logging.getLogger(__name__)

_RETRY: Final = 5.0  # seconds between attempts to ask the parent
_HELD_RETRY: Final = 5.0  # seconds until an orphan that is held is asked about again
_BETWEEN_COUNTS: Final = 0.2  # seconds: counting orphans looks at every pod


class Report(Protocol):
    """Interface: conditions and annotations of the MemberCluster."""

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None: ...

    async def remove_annotation(self, name: str) -> None: ...


class OrphanBrake:
    """See the module's text. Both caches must be synced when it is built."""

    def __init__(
        self, cluster: Observable[MemberCluster], parent: Client, pods: PodCaches, state: MemberState, report: Report
    ) -> None:
        self._cluster, self._parent, self._pods = cluster, parent, pods
        self._state, self._report = state, report
        self._held: frozenset[str] = frozenset()  # UIDs of member pods
        self._released: frozenset[str] = frozenset()  # to be deleted although they are many
        self._few: frozenset[str] = frozenset()  # the orphans of the last count, if they were not too many
        self._counted_at = 0.0  # loop time
        self._holding, self._confirmed = asyncio.Event(), asyncio.Event()
        self._count()  # before anything is deleted

    def delay(self, orphan: Pod) -> float | None:
        """None if this orphan may be deleted now; else the seconds until it is to be asked about again."""
        uid = orphan.metadata.uid
        if uid in self._released:
            return None
        if not self._holding.is_set():
            left = self._counted_at + _BETWEEN_COUNTS - asyncio.get_running_loop().time()
            if left <= 0:
                self._count()
            elif uid not in self._few:
                return left
        return _HELD_RETRY if self._holding.is_set() else None

    async def run(self) -> None:
        """Handles what is held, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_confirmations())
            while True:
                await self._holding.wait()
                await self._report_held()
                try:
                    async with asyncio.timeout(self._second_look):
                        await self._confirmed.wait()
                    cause = "confirmed"
                except TimeoutError:
                    if not await self._finds_the_same():
                        continue
                    cause = "a second look found the same"
                await self._release(cause)

    @property
    def _second_look(self) -> float:
        return self._cluster.value.spec.health.second_look_seconds

    def _orphans(self) -> frozenset[str]:
        names, parents = self._pods.names, self._pods.parent.items
        return frozenset(
            member.metadata.uid
            for member in self._pods.member.items.values()
            if is_orphan(parents.get(names.parent_key(member.metadata)), member, names)
        )

    def _count(self) -> None:
        """Holds all orphans if there are too many that are not released."""
        self._counted_at = asyncio.get_running_loop().time()
        orphans = self._orphans()
        self._released &= orphans
        if not too_many(len(orphans - self._released), len(self._pods.member.items)):
            self._few = orphans
        else:
            self._held, self._few = orphans, frozenset()
            self._confirmed.clear()
            self._holding.set()
            self._state.hold_orphans(self._pods.names.node, held=True)

    async def _report_held(self) -> None:
        unknown, all_pods = len(self._held), len(self._pods.member.items)
        await self._report.set_condition(
            wellknown.ORPHANS_HELD,
            "True",
            wellknown.TOO_MANY_ORPHANS,
            f"the parent does not know {unknown} of the {all_pods} pods in the member; they are kept until a second "
            f"look in {self._second_look:.0f} s, or: vk-provider confirm {self._cluster.value.metadata.name}",
        )

    async def _release(self, cause: str) -> None:
        self._released = (self._released | self._held) & self._orphans()
        extra = {"member": self._cluster.value.metadata.name, "pods": len(self._held), "cause": cause}
        log.warning("orphans released", extra=extra)
        self._held = frozenset()
        self._holding.clear()
        self._state.hold_orphans(self._pods.names.node, held=False)
        if self._state.orphans_held:
            return  # another virtual node of the member holds some
        message = f"{len(self._released)} orphans are deleted: {cause}"
        await self._report.set_condition(wellknown.ORPHANS_HELD, "False", "Released", message)
        if self._is_confirmed:
            await self._report.remove_annotation(wellknown.CONFIRM)

    async def _finds_the_same(self) -> bool:
        """Whether a new, complete list of the parent's pods shows the same orphans. If not, what it shows is held."""
        query = {"fieldSelector": f"spec.nodeName={self._pods.names.node}"}
        try:
            living = {pod.metadata.uid for pod in await self._parent.list(PODS, type=PartialObject, query=query)}
        except VkError as error:
            extra = {"member": self._cluster.value.metadata.name, "error": str(error)}
            log.warning("no second look at orphans", extra=extra)
            await asyncio.sleep(_RETRY)
            return False
        cached = self._orphans()
        orphans = frozenset(
            pod.metadata.uid
            for pod in self._pods.member.items.values()
            if pod.metadata.uid in cached and pod.metadata.annotations.get(wellknown.PARENT_UID) not in living
        )
        same, self._held = orphans == self._held, orphans
        return same

    @property
    def _is_confirmed(self) -> bool:
        annotations = self._cluster.value.metadata.annotations
        return annotations.get(wellknown.CONFIRM) == wellknown.CONFIRM_ORPHANS

    async def _follow_confirmations(self) -> None:
        """Accepts what an administrator confirms in an annotation; one that comes when nothing is held is removed."""
        changed = asyncio.Event()
        changed.set()
        self._cluster.subscribe(changed.set)
        while True:
            await changed.wait()
            changed.clear()
            if not self._is_confirmed:
                continue
            if self._holding.is_set():
                self._confirmed.set()
            elif not self._state.orphans_held:
                await self._report.remove_annotation(wellknown.CONFIRM)
