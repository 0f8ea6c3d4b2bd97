"""The pods of one virtual node: reads both caches, asks `decide`, and carries out what it says.

Who owns what: the informers own what is known of either side; the queue sees to it that a pod is worked on by one
worker at a time; this loop owns the memory that is not in any object (see `PodState`), all of which may be lost at
any time without harm. It runs once both caches are complete, so that "not in the cache" means "is not there", with two
exceptions that it looks after (creation): a write whose outcome is unknown, and a name taken by something outside of
the cache.
While the member is lost nothing is known of it: no pod of it is ready, and nothing else is done. Ends when cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Set
from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import ConflictError, ForbiddenError, InvalidError, NotFoundError, VkError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Pod, pod_phase
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.pods.creation import Creation, applied_signature
from vk_provider.sync.pods.ports import Brake, Dependents, Namespaces, PodState, Services, Statuses
from vk_provider.translate.pods.change import changes
from vk_provider.translate.pods.decide import (
    TERMINAL,
    Action,
    AwaitGone,
    Conflict,
    Create,
    Delete,
    Fail,
    Finish,
    Keep,
    Nothing,
    Orphan,
    Reflect,
    decide,
)
from vk_provider.translate.pods.hostports import host_port_clash
from vk_provider.translate.pods.orphans import is_stray
from vk_provider.translate.pods.placement import is_unchecked, misplaced
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.pods.status import is_silent

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 5.0  # seconds until a server is asked again about a pod of which it and its cache differ


class PodLoop:
    """See the module's text."""

    def __init__(
        self,
        target: Target,
        parent: Client,
        member: Client,
        parent_pods: Informer[Pod],
        member_pods: Informer[Pod],
        *,
        dependents: Dependents,
        namespaces: Namespaces,
        services: Services,
        statuses: Statuses,
        brake: Brake,
        recorder: Recorder,
        workers: int,
        blind: Callable[[], str],
        known: Callable[[], Set[str]],
    ) -> None:
        """`blind` gives why nothing is known of the member's pods now; empty: the cache is what is there.
        `known` are the resources that the member has or had.
        """
        self._target, self._names = target, target.names
        self._parent, self._member = parent, member
        self._parent_pods, self._member_pods = parent_pods, member_pods
        self._dependents, self._statuses = dependents, statuses
        self._creation = Creation(
            target,
            member,
            member_pods,
            dependents=dependents,
            namespaces=namespaces,
            services=services,
            statuses=statuses,
            event=self._event,
            known=known,
        )
        self._brake, self._recorder, self._blind = brake, recorder, blind
        self._states: dict[str, PodState] = {}
        self._busy: set[asyncio.Timeout] = set()  # one for each worker that is at a pod
        self.queue: WorkQueue[str] = WorkQueue("pods", self._reconcile, workers=workers)

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced."""
        self._parent_pods.on_change(self._parent_changed)
        self._member_pods.on_change(self._member_changed)
        self._parent_pods.on_restore(self._forget)
        self._member_pods.on_restore(self._forget)
        await self.queue.run()

    def resync(self) -> None:
        """Looks at every pod again, and at those that failed at once: what is believed of the member has changed.

        Workers that wait for a member that is lost are told to stop.
        """
        if self._blind():
            for busy in self._busy:
                busy.reschedule(asyncio.get_running_loop().time())
            self._busy.clear()
        for pod in self._parent_pods.items.values():
            self.queue.add(pod.metadata.key)
        for pod in self._member_pods.items.values():
            self.queue.add(self._names.parent_key(pod.metadata))

    def _forget(self) -> None:
        """A server went back in time: what was done since its backup is undone, and has to be done again."""
        self._states.clear()
        self.resync()

    def _parent_changed(self, before: Pod | None, after: Pod | None) -> None:
        pod = after or before
        if pod is None:
            return
        if after is None:
            self._dependents.release(pod.metadata.uid)
        self.queue.add(pod.metadata.key)

    def _member_changed(self, before: Pod | None, after: Pod | None) -> None:
        pod = after or before
        if pod is None or not self._names.owns(pod.metadata.labels):
            return
        key = self._names.parent_key(pod.metadata)
        if after is None:
            state = self._state(key)
            state.last, state.deleting = before, None
            state.made = pod.metadata.annotations.get(wellknown.PARENT_UID, "")
        self.queue.add(key)

    def _state(self, key: str) -> PodState:
        return self._states.setdefault(key, PodState())

    def _member_key(self, key: str) -> str:
        namespace, name = key.split("/", 1)
        return f"{self._names.namespace(namespace)}/{name}"

    async def _reconcile(self, key: str) -> float | None:
        busy = asyncio.timeout(None)
        try:
            async with busy:
                self._busy.add(busy)
                try:
                    return await self._carry_on(key)
                finally:
                    self._busy.discard(busy)
        except TimeoutError:
            if not busy.expired():
                raise
            return 0.0  # interrupted by `resync`: look again, now that nothing is known of the member

    async def _carry_on(self, key: str) -> float | None:
        parent = self._parent_pods.items.get(key)
        state = self._state(key)
        member = self._member_pods.items.get(self._member_key(key)) or state.foreign
        why = self._blind()
        if parent and member is None and not why:
            parent = await self._last_words(parent, state)
        action = decide(parent, member, self._names, now=self._parent.server_time(), made=state.made)
        if why:
            return await self._while_blind(parent, action, state, why)
        if member and is_stray(parent, member, self._names) and not self._brake.may_delete(member):
            return _LOOK_AGAIN
        if parent and action == Create():
            clash = host_port_clash(parent, self._parent_pods.items.values())
            action = clash or await self._misplaced(parent) or action
        match action:
            case Reflect() if parent and member:
                return await self._reflect(parent, member, state)
            case Create() if parent:
                return await self._creation.create(parent, state, again=action.again)
            case AwaitGone() | Keep(reflect=True) if parent and member:
                await self._statuses.reflect(parent, member)
            case Delete() if member:
                await self._delete(member, action, state)
                if parent and parent.metadata.uid == member.metadata.annotations.get(wellknown.PARENT_UID):
                    await self._statuses.reflect(parent, member)
            case Finish() if parent:
                return await self._finish(parent, state)
            case Fail() if parent:
                self._event(parent, "Warning", action.reason, action.message)
                await self._statuses.fail(parent, action.reason, action.status_message)
            case Conflict() if parent:
                state.foreign = None  # look again: it may have gone
                return await self._creation.conflict(parent, action.message)
            case Orphan() if member:
                return await self._orphan(key, member)
            case Keep() | Nothing():
                pass
        if parent is None and member is None:
            self._statuses.forget(key)
            self._states.pop(key, None)
        return None

    async def _misplaced(self, parent: Pod) -> Fail | None:
        if not is_unchecked(parent):
            return None
        node = await self._parent.get(NODES, self._names.node, type=PartialObject)
        return misplaced(parent, node.metadata)

    async def _while_blind(self, parent: Pod | None, action: Action, state: PodState, why: str) -> float | None:
        if parent is None:
            return None
        created = pod_phase(parent).has(wellknown.CREATED_CONDITION) or state.made == parent.metadata.uid
        if isinstance(action, Finish) and not state.unsure and not created:
            return await self._finish(parent, state)  # it never was in the member, which needs no asking
        await self._statuses.lose(parent, why)
        return None

    async def _reflect(self, parent: Pod, member: Pod, state: PodState) -> float | None:
        if state.applied != applied_signature(parent, member):
            try:
                member = await self._apply(parent, member, state)
            except VkError:
                await self._statuses.reflect(parent, member)  # what cannot be applied hides nothing of what runs
                raise
        if state.silent_until and is_silent(member):
            # One write of "Running" instead of one of "nothing yet" and then that.
            if (left := state.silent_until - asyncio.get_running_loop().time()) > 0:
                return left
        state.silent_until = 0.0
        await self._statuses.reflect(parent, member)
        return None

    async def _apply(self, parent: Pod, member: Pod, state: PodState) -> Pod:
        """The member pod, with what has changed of the parent pod and of what that names."""
        await self._dependents.bring(parent)
        for change in changes(parent, member, self._target):
            try:
                member = await self._member.patch(
                    PODS,
                    member.metadata.name,
                    change.patch,
                    member.metadata.namespace,
                    type=Pod,
                    patch_type=PatchType.STRATEGIC,
                    subresource=change.subresource,
                )
            except (ForbiddenError, InvalidError) as error:
                where = f"pods/{change.subresource}" if change.subresource else "pods"
                self._event(parent, "Warning", wellknown.MEMBER_REFUSED, f"update of {where}: {error.message}")
            else:
                self._member_pods.observe(member)
        state.applied = applied_signature(parent, member)
        return member

    async def _delete(self, member: Pod, action: Delete, state: PodState) -> None:
        asked = (action.uid, action.grace_seconds)
        if state.deleting == asked:
            return
        try:
            await self._member.delete(
                PODS,
                member.metadata.name,
                member.metadata.namespace,
                uid=action.uid,
                grace_seconds=action.grace_seconds,
            )
        except NotFoundError:
            return  # the watch will say so
        state.deleting = asked

    async def _last_words(self, parent: Pod, state: PodState) -> Pod:
        """The parent pod with what the member pod said before it went; said once, since other words may follow."""
        if (last := state.last) and last.metadata.annotations.get(wellknown.PARENT_UID) == parent.metadata.uid:
            await self._statuses.reflect(parent, last)
            parent = self._parent_pods.items.get(parent.metadata.key, parent)
        state.last = None
        return parent

    async def _finish(self, parent: Pod, state: PodState) -> float | None:
        """The member pod is gone: lets the parent pod go."""
        if state.finished == parent.metadata.uid:
            return None  # the watch will say so, or whoever holds a finalizer
        if state.unsure:
            await self._creation.look_up(parent, state)
            if self._member_pods.items.get(self._member_key(parent.metadata.key)) is not None:
                return 0.0
        if parent.metadata.finalizers and pod_phase(parent).phase not in TERMINAL:
            # It outlives its deletion for somebody who waits for its end, as a Job does: a kubelet gives it one.
            await self._statuses.fail(parent, "", "")
        try:
            await self._parent.delete(
                PODS, parent.metadata.name, parent.metadata.namespace, uid=parent.metadata.uid, grace_seconds=0
            )
        except (NotFoundError, ConflictError):
            return _LOOK_AGAIN  # the watch will say so
        state.finished = parent.metadata.uid
        return None

    async def _orphan(self, key: str, member: Pod) -> float | None:
        """Deletes a member pod whose parent pod is gone, if the parent itself, asked now, says so."""
        namespace, name = key.split("/", 1)
        uid = member.metadata.annotations.get(wellknown.PARENT_UID)
        try:
            living = await self._parent.get(PODS, name, namespace, type=Pod)
            if living.metadata.uid == uid:
                return _LOOK_AGAIN
        except NotFoundError:
            pass
        log.info("member pod is an orphan", extra={"pod": key, "node": self._names.node})
        try:
            await self._member.delete(PODS, member.metadata.name, member.metadata.namespace, uid=member.metadata.uid)
        except NotFoundError:
            pass
        return None

    def _event(self, parent: Pod, type: str, reason: str, message: str) -> None:
        self._recorder.event(PODS, parent.metadata, type, reason, message)
