"""The brake on deleting orphans: member pods whose parent pod does not exist.

    an orphan --few of them--> deleted
        +-----more than 10, and more than half of the member's pods--> held, with a condition
                 held --an administrator confirms--> these are deleted
                 held in normal operation --a second complete look finds the same--> these are deleted
                 held from the first look on, or after a restore of the parent: no time releases them
        +-----the member was fenced--> deleted: the fence confirms it; those that may run at most once are the first

The brake works at any time: when the provider starts, when a member returns, and while all is well. Owns which orphans
are held and which are released; reports to MemberState and to the condition OrphansHeld, which a later process reads
again: what it held stays held. Ends when cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import VkError, counted
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject, Pod
from vk_provider.kube.resources import PODS
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.pods.orphans import is_orphan, runs_at_most_once, too_many
from vk_provider.translate.state.health import State

log = logging.getLogger(__name__)

_RETRY: Final = 5.0  # seconds between attempts to ask the parent
_HELD_RETRY: Final = 5.0  # seconds until an orphan that is held is asked about again
_BETWEEN_COUNTS: Final = 0.2  # seconds: counting orphans looks at every pod
_RESTORED: Final = "the parent was restored from a backup"
_UNIQUE_FIRST: Final = 5.0  # seconds that other orphans of a fenced member wait for those that run at most once


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
        self._few: frozenset[str] = frozenset()  # the other orphans of the last count
        self._counted_at = 0.0  # loop time
        self._grew = False  # since the last look, more are held
        self._holding, self._decided = asyncio.Event(), asyncio.Event()
        self._restores = parent.restores  # when it was built
        self._undecidable = ""  # why no second look can tell that the parent is right
        before = cluster.value.status.condition(wellknown.ORPHANS_HELD)
        self._reported = before.reason if before else ""  # the reason of the condition
        self._fenced = not self._is_healthy and (state.fenced or self._reported == wellknown.ORPHANS_FENCED)
        self._unique_until = 0.0  # loop time
        self._changed = asyncio.Event()  # what an administrator decides, or whether a fence still counts
        self._first_look()

    @property
    def looks_again(self) -> bool:
        """Whether orphans are held that a second look will release: a member that returns waits for it."""
        return self._holding.is_set() and not self._undecidable

    def is_held(self, member_uid: str) -> bool:
        """Whether this member pod is an orphan that must not be deleted now."""
        return member_uid in self._held

    def delay(self, orphan: Pod) -> float | None:
        """None if this orphan may be deleted now; else the seconds until it is to be asked about again."""
        uid = orphan.metadata.uid
        if uid in self._released:
            return None
        if uid in self._held:
            return _HELD_RETRY
        left = self._counted_at + _BETWEEN_COUNTS - asyncio.get_running_loop().time()
        if left <= 0:
            self._count()
        elif uid not in self._few:
            return left
        if uid in self._held:
            return _HELD_RETRY
        return _BETWEEN_COUNTS if self._fenced and uid not in self._few else None

    async def run(self) -> None:
        """Handles what is held, until cancelled."""
        self._pods.parent.on_restore(self._restored)
        self._state.on_change(self._changed.set)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_decisions())
            while True:
                await self._holding.wait()
                self._grew = False
                await self._report_held()
                try:
                    async with asyncio.timeout(self._second_look):
                        await self._decided.wait()
                except TimeoutError:
                    await self._look_again()
                else:
                    await self._release("the member was fenced" if self._fenced else "confirmed")

    @property
    def _is_healthy(self) -> bool:
        return self._state.health.state is State.HEALTHY

    @property
    def _second_look(self) -> float:
        return self._cluster.value.spec.health.second_look_seconds

    def _orphans(self) -> dict[str, Pod]:
        names, parents = self._pods.names, self._pods.parent.items
        return {
            member.metadata.uid: member
            for member in self._pods.member.items.values()
            if is_orphan(parents.get(names.parent_key(member.metadata)), member, names)
        }

    def _first_look(self) -> None:
        """Before anything is deleted. Nothing has followed the parent until now; and what was held stays held."""
        self._count()
        if self._few and self._reported == wellknown.TOO_MANY_ORPHANS and not self._is_decided:
            self._hold(self._few)
        if self._holding.is_set():
            self._undecidable = "they were found when the provider began to serve the member"

    def _restored(self) -> None:
        self._count()
        if self._holding.is_set():
            self._undecidable = _RESTORED

    def _count(self) -> None:
        """Holds all orphans that are not released if they are too many."""
        now = self._counted_at = asyncio.get_running_loop().time()
        orphans = self._orphans()
        self._released &= orphans.keys()
        self._few = frozenset(orphans) - self._released - self._held
        if self._fenced:
            self._unique_until = self._unique_until or now + _UNIQUE_FIRST
            unique = frozenset(uid for uid in self._few if runs_at_most_once(orphans[uid]))
            self._few = unique if unique and now < self._unique_until else self._few
        elif not self._is_decided and too_many(len(self._few), len(self._pods.member.items)):
            self._hold(self._few)

    @property
    def _is_decided(self) -> bool:
        """Whether orphans may be deleted however many they are: the member is fenced, or it is being unjoined."""
        return self._fenced or self._state.leaving

    def _hold(self, orphans: frozenset[str]) -> None:
        if not self._holding.is_set():
            self._decided.clear()
            self._undecidable = ""
        self._held, self._few, self._grew = self._held | orphans, frozenset(), True
        if self._parent.restores != self._restores:
            self._undecidable = _RESTORED
        self._holding.set()
        self._state.hold_orphans(self._pods.names.node, held=True)

    async def _report_held(self) -> None:
        name, all_pods = self._cluster.value.metadata.name, len(self._pods.member.items)
        until = f"a second look in {self._second_look:.0f} s, or"
        if self._undecidable:
            until = f"an administrator decides, because {self._undecidable}"
        self._reported = wellknown.TOO_MANY_ORPHANS
        await self._report.set_condition(
            wellknown.ORPHANS_HELD,
            "True",
            wellknown.TOO_MANY_ORPHANS,
            f"the parent does not know {len(self._held)} of the {counted(all_pods, 'pod')} in the member; "
            f"they are kept until {until}: vk-provider confirm {name}",
        )

    async def _release(self, cause: str) -> None:
        self._released = (self._released | self._held) & self._orphans().keys()
        member, released = self._cluster.value.metadata.name, len(self._held)
        log.warning("orphans released", extra={"member": member, "pods": released, "cause": cause})
        self._held, self._undecidable = frozenset(), ""
        self._holding.clear()
        self._state.hold_orphans(self._pods.names.node, held=False)
        if self._state.orphans_held:
            return  # another virtual node of the member holds some
        await self._report_released(f"{counted(released, 'orphan')} released: {cause}")
        if self._is_confirmed:
            await self._report.remove_annotation(wellknown.CONFIRM)

    async def _report_released(self, message: str) -> None:
        self._reported = wellknown.ORPHANS_FENCED if self._fenced else wellknown.ORPHANS_RELEASED
        await self._report.set_condition(wellknown.ORPHANS_HELD, "False", self._reported, message)

    async def _look_again(self) -> None:
        """Compares what is held with a new, complete list of the parent's pods, and releases it if that may decide."""
        query = {"fieldSelector": f"spec.nodeName={self._pods.names.node}"}
        try:
            living = {pod.metadata.uid for pod in await self._parent.list(PODS, type=PartialObject, query=query)}
        except VkError as error:
            extra = {"member": self._cluster.value.metadata.name, "error": str(error)}
            log.warning("no second look at orphans", extra=extra)
            await asyncio.sleep(_RETRY)
            return
        found = frozenset(
            uid
            for uid, pod in self._orphans().items()
            if pod.metadata.annotations.get(wellknown.PARENT_UID) not in living
        )
        same = self._held <= found and not self._grew
        self._held &= found
        if not self._held:
            await self._release("the parent knows them, or they have ended")
        elif same and not self._undecidable:
            await self._release("a second look found the same")

    @property
    def _is_confirmed(self) -> bool:
        annotations = self._cluster.value.metadata.annotations
        return annotations.get(wellknown.CONFIRM) == wellknown.CONFIRM_ORPHANS

    async def _follow_decisions(self) -> None:
        """Accepts what an administrator decides by an annotation: a fence, and a confirmation.

        A confirmation that comes when nothing is held is removed.
        """
        self._changed.set()
        self._cluster.subscribe(self._changed.set)
        while True:
            await self._changed.wait()
            self._changed.clear()
            await self._follow_fence()
            if self._holding.is_set() and (self._fenced or self._is_confirmed):
                self._decided.set()
            elif self._is_confirmed and not self._state.orphans_held:
                await self._report.remove_annotation(wellknown.CONFIRM)

    async def _follow_fence(self) -> None:
        """A fence counts until the member is healthy again. The condition tells a provider that starts meanwhile."""
        if self._is_healthy and not self._state.fenced:
            self._fenced = False
        elif self._state.fenced and not self._is_healthy and not self._fenced:
            self._fenced, self._unique_until = True, 0.0
        if self._state.orphans_held:
            return
        if self._fenced and self._reported != wellknown.ORPHANS_FENCED:
            await self._report_released("the member was fenced: orphans are deleted as soon as it returns")
        elif not self._fenced and self._reported not in ("", wellknown.ORPHANS_RELEASED):
            await self._report_released("no orphans are held")
