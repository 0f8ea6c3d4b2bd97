"""The pods of one virtual node: reads both caches, asks `decide`, and carries out what it says.

Who owns what: the informers own what is known of either side; the queue sees to it that a pod is worked on by one
worker at a time; this loop owns the memory that is not in any object (see `_PodState`), all of which may be lost at
any time without harm. It runs once both caches are complete, so that "not in the cache" means "is not there", with two
exceptions that it looks after: a write whose outcome is unknown, and a name taken by something outside of the cache.
While the member is lost nothing is known of it: no pod of it is ready, and nothing else is done. Ends when cancelled.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from vk_provider.api import words
from vk_provider.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NameTakenError,
    NotFoundError,
)
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod, fields, pod_phase
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import PODS
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.translate.change import changes
from vk_provider.translate.decide import (
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
from vk_provider.translate.deeds import deeds
from vk_provider.translate.hostports import host_port_clash
from vk_provider.translate.orphans import is_stray
from vk_provider.translate.pod import Owner, Target, member_pod
from vk_provider.translate.status import is_silent, restarts

log = logging.getLogger(__name__)

_FIRST_WORDS: Final = 2.0  # seconds that a new member pod has to say something before its silence is reflected
_CONFLICT_RETRY: Final = 15.0  # seconds until a taken name is tried again
_ORPHAN_RETRY: Final = 5.0  # seconds until the parent is asked again about a pod that only its own cache misses
_ACCOUNT_RETRY: Final = 0.2  # seconds; a new namespace gets its default service account a moment later
_CRASH_BASE, _CRASH_CAP, _CRASH_RESET = 10.0, 300.0, 600.0  # seconds: the kubelet's back-off of crashing containers


class Dependents(Protocol):
    """Port: what pods need beside them."""

    async def bring(self, pod: Pod) -> None: ...

    def release(self, pod_uid: str) -> None: ...


class Namespaces(Protocol):
    """Port: the member's namespaces."""

    async def ensure(self, parent_namespace: str) -> str: ...


class Services(Protocol):
    """Port: the parent's Services in the member."""

    async def ensure(self, parent_namespace: str) -> None: ...


class Statuses(Protocol):
    """Port: the parent pods' status."""

    async def reflect(self, parent: Pod, member: Pod) -> None: ...

    async def wait(self, parent: Pod, reason: str, message: str) -> None: ...

    async def fail(self, parent: Pod, reason: str, message: str) -> None: ...

    async def lose(self, parent: Pod, message: str) -> None: ...

    def forget(self, key: str) -> None: ...


class Brake(Protocol):
    """Port: whether a member pod that the parent does not know may be deleted now."""

    def may_delete(self, member: Pod) -> bool: ...


@dataclass(slots=True)
class _PodState:
    """Memory about one pod beyond the caches; may be lost at any time."""

    applied: int = 0  # hash of (parent, member) for which no change was left to apply
    last: Pod | None = None  # the member pod as it was when it went
    made: str = ""  # UID of the parent pod that had a member pod, which its status may not say yet
    foreign: Pod | None = None  # what has the pod's name in the member and is not ours
    unsure: bool = False  # a create was sent and its outcome is unknown
    finished: str = ""  # UID of the parent pod whose final delete was sent
    deleting: tuple[str, int | None] | None = None  # UID and grace of the delete that was sent
    silent_until: float = 0.0  # loop time; a member pod made a moment ago has said nothing yet
    recreated: int = 0  # how often a lost member pod was made again
    recreated_at: float = 0.0  # loop time


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
    ) -> None:
        """`blind` gives why nothing is known of the member's pods now; empty: the cache is what is there."""
        self._target, self._names = target, target.names
        self._parent, self._member = parent, member
        self._parent_pods, self._member_pods = parent_pods, member_pods
        self._dependents, self._namespaces, self._statuses = dependents, namespaces, statuses
        self._services = services
        self._brake, self._recorder, self._blind = brake, recorder, blind
        self._states: dict[str, _PodState] = {}
        self._busy: set[asyncio.Timeout] = set()  # one for each worker that is at a pod
        self.queue: WorkQueue[str] = WorkQueue("pods", self._reconcile, workers=workers)

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced."""
        self._parent_pods.on_change(self._parent_changed)
        self._member_pods.on_change(self._member_changed)
        self._parent_pods.on_rewind(self._forget)
        self._member_pods.on_rewind(self._forget)
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
        for pod in self._member_pods.items.values():
            self.queue.add(self._names.parent_key(pod.metadata))

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
            state.made = pod.metadata.annotations.get(words.PARENT_UID, "")
        self.queue.add(key)

    def _state(self, key: str) -> _PodState:
        return self._states.setdefault(key, _PodState())

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
        action = decide(parent, member, self._names, now=self._parent.server_time(), made=state.made)
        if why := self._blind():
            await self._while_blind(parent, action, state, why)
            return None
        if member and is_stray(parent, member, self._names) and not self._brake.may_delete(member):
            return _ORPHAN_RETRY
        if parent and action == Create():
            action = host_port_clash(parent, self._parent_pods.items.values()) or action
        match action:
            case Reflect() if parent and member:
                return await self._reflect(parent, member, state)
            case Create() if parent:
                return await self._create(parent, state, again=action.again)
            case AwaitGone() | Keep(reflect=True) if parent and member:
                await self._statuses.reflect(parent, member)
            case Delete() if member:
                await self._delete(member, action, state)
                if parent and parent.metadata.uid == member.metadata.annotations.get(words.PARENT_UID):
                    await self._statuses.reflect(parent, member)
            case Finish() if parent:
                await self._finish(parent, state)
            case Fail() if parent:
                self._event(parent, "Warning", action.reason, action.message)
                await self._statuses.fail(parent, action.reason, action.message)
            case Conflict() if parent:
                state.foreign = None  # look again: it may have gone
                return await self._conflict(parent, action.message)
            case Orphan() if member:
                return await self._orphan(key, member)
            case Keep() | Nothing():
                pass
        if parent is None and member is None:
            self._statuses.forget(key)
            self._states.pop(key, None)
        return None

    async def _while_blind(self, parent: Pod | None, action: Action, state: _PodState, why: str) -> None:
        if parent is None:
            return
        created = pod_phase(parent).has(words.CREATED_CONDITION) or state.made == parent.metadata.uid
        if isinstance(action, Finish) and not state.unsure and not created:
            await self._finish(parent, state)  # it never was in the member, which needs no asking
        else:
            await self._statuses.lose(parent, why)

    async def _reflect(self, parent: Pod, member: Pod, state: _PodState) -> float | None:
        signature = _applied_signature(parent, member)
        if state.applied != signature:
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
                    self._event(parent, "Warning", words.MEMBER_REFUSED, f"update of {where}: {error.message}")
                else:
                    self._member_pods.observe(member)
            state.applied = _applied_signature(parent, member)
        if state.silent_until and is_silent(member):
            # One write of "Running" instead of one of "nothing yet" and then that.
            if (left := state.silent_until - asyncio.get_running_loop().time()) > 0:
                return left
        state.silent_until = 0.0
        await self._statuses.reflect(parent, member)
        return None

    async def _create(self, parent: Pod, state: _PodState, *, again: bool) -> float | None:
        if again:
            counts = restarts(parent)
            if delay := self._restart_delay(state):
                await self._statuses.wait(parent, "CrashLoopBackOff", f"back-off {delay:.0f}s: the member pod was lost")
                return delay
        else:
            counts = {}
        namespace = parent.metadata.namespace
        try:
            owner = Owner(self._names.namespace(namespace), await self._namespaces.ensure(namespace))
            await self._services.ensure(namespace)
            await self._dependents.bring(parent)
            manifest = member_pod(parent, self._target, restarts=counts, owner=owner)
            created = await self._send(manifest, owner.namespace, state)
        except NameTakenError as error:
            return await self._conflict(parent, error.message)
        except ConflictError:
            return await self._name_exists(parent, state)
        except (ForbiddenError, InvalidError) as error:
            if "serviceaccount" in error.message and "not found" in error.message:
                return _ACCOUNT_RETRY
            self._event(parent, "Warning", words.MEMBER_REFUSED, error.message)
            await self._statuses.wait(parent, words.MEMBER_REFUSED, error.message)
            raise
        state.made = parent.metadata.uid
        if again:
            state.recreated, state.recreated_at = state.recreated + 1, asyncio.get_running_loop().time()
            self._event(parent, "Normal", "MemberPodRecreated", "the member pod was lost; a new one was created")
        log.debug("member pod created", extra={"pod": parent.metadata.key, "node": self._names.node})
        if not again:
            self._say_missed(parent, manifest)
        state.applied = _applied_signature(parent, created)
        self._member_pods.observe(created)
        state.silent_until = asyncio.get_running_loop().time() + _FIRST_WORDS
        return _FIRST_WORDS

    async def _send(self, manifest: dict[str, Any], namespace: str, state: _PodState) -> Pod:
        """The create itself. Its outcome is unknown until the answer is there, and after a failure of the server."""
        state.unsure = True
        try:
            created = await self._member.create(PODS, manifest, namespace, type=Pod)
        except ApiError as error:
            state.unsure = error.status >= 500
            raise
        state.unsure = False
        return created

    def _restart_delay(self, state: _PodState) -> float:
        """Seconds that are left of the back-off: none for the first loss, then 10 s, doubling to 5 min."""
        if not state.recreated:
            return 0.0
        since = asyncio.get_running_loop().time() - state.recreated_at
        if since > _CRASH_RESET:
            state.recreated = 0
            return 0.0
        return max(0.0, min(_CRASH_CAP, _CRASH_BASE * 2.0 ** (state.recreated - 1)) - since)

    async def _name_exists(self, parent: Pod, state: _PodState) -> float | None:
        """A create met a name that is taken: by ours, unknown until now, or by something that is not ours."""
        key = self._member_key(parent.metadata.key)
        namespace, name = key.split("/", 1)
        try:
            found = await self._member.get(PODS, name, namespace, type=Pod)
        except NotFoundError:
            return 0.0
        if self._names.owns(found.metadata.labels):
            self._member_pods.observe(found)
        else:
            state.foreign = found
        state.unsure = False
        return 0.0

    async def _conflict(self, parent: Pod, message: str) -> float:
        self._event(parent, "Warning", words.NAME_CONFLICT, message)
        await self._statuses.wait(parent, words.NAME_CONFLICT, message)
        return _CONFLICT_RETRY

    async def _delete(self, member: Pod, action: Delete, state: _PodState) -> None:
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
            pass  # the watch will say so
        state.deleting = asked

    async def _finish(self, parent: Pod, state: _PodState) -> None:
        """The member pod is gone: writes its last words, then lets the parent pod go."""
        if state.finished == parent.metadata.uid:
            return  # the watch will say so, or whoever holds a finalizer
        if state.unsure:
            await self._name_exists(parent, state)
            if self._member_pods.items.get(self._member_key(parent.metadata.key)) is not None:
                self.queue.add(parent.metadata.key)
                return
        last = state.last
        if last is not None and last.metadata.annotations.get(words.PARENT_UID) == parent.metadata.uid:
            await self._statuses.reflect(parent, last)
            parent = self._parent_pods.items.get(parent.metadata.key, parent)
        if parent.metadata.finalizers and pod_phase(parent).phase not in TERMINAL:
            # It outlives its deletion for somebody who waits for its end, as a Job does: a kubelet gives it one.
            await self._statuses.fail(parent, "", "")
        try:
            await self._parent.delete(
                PODS, parent.metadata.name, parent.metadata.namespace, uid=parent.metadata.uid, grace_seconds=0
            )
        except (NotFoundError, ConflictError):
            pass
        state.finished = parent.metadata.uid

    async def _orphan(self, key: str, member: Pod) -> float | None:
        """Deletes a member pod whose parent pod is gone, if the parent itself, asked now, says so."""
        namespace, name = key.split("/", 1)
        uid = member.metadata.annotations.get(words.PARENT_UID)
        try:
            living = await self._parent.get(PODS, name, namespace, type=Pod)
            if living.metadata.uid == uid:
                return _ORPHAN_RETRY
        except NotFoundError:
            pass
        log.info("member pod is an orphan", extra={"pod": key, "node": self._names.node})
        try:
            await self._member.delete(PODS, member.metadata.name, member.metadata.namespace, uid=member.metadata.uid)
        except NotFoundError:
            pass
        return None

    def _say_missed(self, parent: Pod, manifest: dict[str, Any]) -> None:
        """One Event with every field that the member cannot honour and a user may rely on."""
        missed = [str(deed) for deed in deeds({"spec": fields(parent.spec)}, manifest, self._target) if deed.missed]
        if missed:
            self._event(parent, "Warning", words.NOT_HONOURED, "; ".join(missed))

    def _event(self, parent: Pod, type: str, reason: str, message: str) -> None:
        self._recorder.event(PODS, parent.metadata, type, reason, message)


def _applied_signature(parent: Pod, member: Pod) -> int:
    """Of everything that `changes` reads on the parent, and of what a person may change on the member pod."""
    return hash(
        (
            bytes(parent.spec),
            tuple(parent.metadata.labels.items()),
            tuple(parent.metadata.annotations.items()),
            member.metadata.uid,
            tuple(member.metadata.labels.items()),
            tuple(member.metadata.annotations.items()),
        )
    )
