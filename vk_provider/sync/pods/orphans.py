"""The brake on deleting member pods that the parent does not know.

    a stray --few of them--> deleted
       +-----more than 10 and more than half of the member's pods--> held, and said
                 held --somebody confirms, or a second complete look finds the same--> these go

Owns the set of strays, kept current from both caches, and which of them are held. It holds at any time: at the start of
the provider, when a member returns, and while all is well. Ends when cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import VkError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Pod
from vk_provider.kube.resources import PODS
from vk_provider.translate.names import Names
from vk_provider.translate.pods.orphans import is_stray, too_many

log = logging.getLogger(__name__)

_RETRY: Final = 5.0  # seconds, where the parent could not be asked

Tell = Callable[[bool, str, str], Awaitable[None]]


class OrphanBrake:
    """See the module's text. `tell` writes the condition: whether pods are held, reason, message."""

    def __init__(
        self,
        member: str,
        names: Names,
        parent: Client,
        parent_pods: Informer[Pod],
        member_pods: Informer[Pod],
        *,
        second_look: Callable[[], float],
        tell: Tell,
    ) -> None:
        """Both informers must be synced. `member` is the name of the MemberCluster, `second_look` gives the seconds
        until it."""
        self._name, self._names, self._parent = member, names, parent
        self._parent_pods, self._member_pods = parent_pods, member_pods
        self._second_look, self._tell = second_look, tell
        self._strays: set[str] = set()  # UIDs of member pods
        self._held: frozenset[str] = frozenset()
        self._released: set[str] = set()
        self._holding, self._confirmed = asyncio.Event(), asyncio.Event()
        parent_pods.on_change(self._parent_changed)
        member_pods.on_change(self._member_changed)
        self._brake()  # both caches are complete: before anything is deleted

    @property
    def holding(self) -> bool:
        """Whether pods wait for a confirmation or a second look."""
        return self._holding.is_set()

    def may_delete(self, member: Pod) -> bool:
        """Whether this stray may go now. One that may not is to be asked about again."""
        if member.metadata.uid in self._released:
            return True
        self._brake()
        return not self.holding

    def confirm(self) -> None:
        """Somebody agrees that those that are held are deleted."""
        self._confirmed.set()

    async def run(self) -> None:
        """Sees to what is held, until cancelled."""
        while True:
            await self._holding.wait()
            await self._say_held()
            try:
                async with asyncio.timeout(self._second_look()):
                    await self._confirmed.wait()
                why = "confirmed"
            except TimeoutError:
                if not await self._is_the_same():
                    continue
                why = "a second look found the same"
            self._released = (self._released | self._held) & self._strays
            log.warning("orphans released", extra={"member": self._name, "pods": len(self._held), "cause": why})
            self._held = frozenset()
            self._holding.clear()
            await self._tell(False, "Released", f"{len(self._released)} orphans are deleted: {why}")

    def _brake(self) -> None:
        if not self.holding and too_many(len(self._strays - self._released), len(self._member_pods.items)):
            self._held = frozenset(self._strays)
            self._confirmed.clear()
            self._holding.set()

    async def _say_held(self) -> None:
        unknown, all_pods = len(self._held), len(self._member_pods.items)
        await self._tell(
            True,
            wellknown.TOO_MANY_ORPHANS,
            f"the parent does not know {unknown} of the {all_pods} pods in the member; they are kept until a second "
            f"look in {self._second_look():.0f} s, or: vk-provider confirm {self._name}",
        )

    async def _is_the_same(self) -> bool:
        """Whether a new, complete list of the parent's pods shows the same strays. Else what is stray now is held."""
        query = {"fieldSelector": f"spec.nodeName={self._names.node}"}
        try:
            living = {pod.metadata.uid for pod in await self._parent.list(PODS, type=PartialObject, query=query)}
        except VkError as error:
            log.warning("no second look at orphans", extra={"member": self._name, "error": str(error)})
            await asyncio.sleep(_RETRY)
            return False
        strays = frozenset(
            pod.metadata.uid
            for pod in self._member_pods.items.values()
            if pod.metadata.uid in self._strays and pod.metadata.annotations.get(wellknown.PARENT_UID) not in living
        )
        same, self._held = strays == self._held, strays
        return same

    def _parent_changed(self, before: Pod | None, after: Pod | None) -> None:
        pod = after or before
        if pod is not None:
            namespace = self._names.namespace(pod.metadata.namespace)
            self._judge(self._member_pods.items.get(f"{namespace}/{pod.metadata.name}"))

    def _member_changed(self, before: Pod | None, after: Pod | None) -> None:
        if before is not None and (after is None or after.metadata.uid != before.metadata.uid):
            self._strays.discard(before.metadata.uid)
            self._released.discard(before.metadata.uid)
        self._judge(after)

    def _judge(self, member: Pod | None) -> None:
        if member is None:
            return
        parent = self._parent_pods.items.get(self._names.parent_key(member.metadata))
        if is_stray(parent, member, self._names):
            self._strays.add(member.metadata.uid)
        else:
            self._strays.discard(member.metadata.uid)
