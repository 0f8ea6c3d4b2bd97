"""The pods of one virtual node: reads both caches, asks `decide`, and carries out what it says.

Ownership: the informers own what is known of either side. The queue makes sure that one worker at a time handles a pod.
This loop owns the memory that is in no object (see `PodMemory`); a new process starts without it.
The loop runs once both caches are synced, so that "not in the cache" means "does not exist", with two exceptions that
`member_pods` handles: a write whose outcome is unknown, and a name that belongs to an object outside the cache.
While the state of the member's pods is unknown, none of them is Ready, and the only thing that is done is to delete
parent pods that never had a member pod. Ends when cancelled.
"""

from __future__ import annotations

import asyncio
import logging

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Pod, pod_phase
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.eviction import LOOK_AGAIN, Evictions
from vk_provider.sync.pods.member_pods import MemberPods
from vk_provider.sync.pods.protocols import Brake, Dependents, KnownResources, PodMemory
from vk_provider.sync.pods.removal import Removals
from vk_provider.sync.pods.status import StatusWriter
from vk_provider.sync.pods.unschedulable import Unschedulable
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.member_nodes import MemberNode
from vk_provider.translate.pods import admission
from vk_provider.translate.pods.decide import (
    Action,
    AwaitGone,
    Conflict,
    Create,
    Delete,
    Evict,
    Fail,
    Finish,
    Keep,
    Nothing,
    Orphan,
    Reflect,
    decide,
    needs_admission,
)
from vk_provider.translate.pods.disruption import seconds_left
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.pods.unschedulable import unschedulable_since

log = logging.getLogger(__name__)


class PodLoop:
    """See the module's text. Both caches must be synced when it is built."""

    def __init__(
        self,
        target: Target,
        parent: Client,
        member: Client,
        pods: PodCaches,
        *,
        state: MemberState,
        resources: KnownResources,
        dependents: Dependents,
        brake: Brake,
        recorder: Recorder,
        workers: int,
        cluster: Observable[MemberCluster],
        nodes: Informer[MemberNode],
    ) -> None:
        """`workers` bounds the pods that are worked on at the same time. `nodes`: those of the member."""
        self._names, self._parent, self._member, self._pods = target.names, parent, member, pods
        self._state, self._dependents, self._recorder = state, dependents, recorder
        self._statuses = StatusWriter(parent, pods.parent)
        self._member_pods = MemberPods(
            target, member, pods, resources, dependents, self._statuses, self._event, cluster=cluster, nodes=nodes
        )
        self._removals = Removals(parent, member, pods, brake, self._statuses, self._member_pods)
        self._evictions = Evictions(parent, self._statuses, self._event)
        self._unschedulable = Unschedulable(target.names.node, parent, self._evictions, cluster)
        self._memory: dict[str, PodMemory] = {}
        self._busy: set[asyncio.Timeout] = set()  # one for each worker that handles a pod
        self.queue: WorkQueue[str] = WorkQueue("pods", self._reconcile, workers=workers)
        for pod in pods.parent.items.values():
            if not self._is_over(pod, pods.member.items.get(self._names.member_key(pod.metadata.key))):
                self._remember(pod.metadata.key).uid = pod.metadata.uid
                dependents.adopt(pod)  # so that none of what it names counts as unused

    async def run(self) -> None:
        """Works until cancelled."""
        self._pods.parent.enqueue(self.queue)
        self._pods.member.on_change(self._member_changed)
        self._pods.parent.on_restore(self._forget)
        self._pods.member.on_restore(self._forget)
        self._state.on_resync(self._resync)
        await self.queue.run()

    def _resync(self) -> None:
        """Looks at every pod again. Workers that wait for a member that is lost are interrupted."""
        if self._state.unknown_reason:
            for busy in self._busy:
                busy.reschedule(asyncio.get_running_loop().time())
            self._busy.clear()
        for pod in self._pods.parent.items.values():
            self.queue.add(pod.metadata.key)
        for pod in self._pods.member.items.values():
            self.queue.add(self._names.parent_key(pod.metadata))

    def _forget(self) -> None:
        """A server was restored from a backup: what was done since is undone, and has to be done again."""
        for memory in self._memory.values():
            memory.forget()
        self._resync()

    def _member_changed(self, before: Pod | None, after: Pod | None) -> None:
        pod = after or before
        if pod is None or not self._names.owns(pod.metadata.labels):
            return
        key = self._names.parent_key(pod.metadata)
        if after is None:
            memory = self._remember(key)
            memory.final, memory.deleting = before, None
            memory.created_uid = pod.metadata.annotations.get(wellknown.PARENT_UID, "")
        self.queue.add(key)

    def _remember(self, key: str) -> PodMemory:
        return self._memory.setdefault(key, PodMemory())

    async def _reconcile(self, key: str) -> float | None:
        busy = asyncio.timeout(None)
        try:
            async with busy:
                self._busy.add(busy)
                try:
                    return await self._handle(key)
                finally:
                    self._busy.discard(busy)
        except TimeoutError:
            if not busy.expired():
                raise
            return 0.0  # interrupted by `_resync`: look again, now that the state of the member is unknown

    async def _handle(self, key: str) -> float | None:
        parent = self._pods.parent.items.get(key)
        memory = self._remember(key)
        if parent is None:
            memory.foreign = None
        member = self._pods.member.items.get(self._names.member_key(key)) or memory.foreign
        self._release_dependents(parent, member, memory)
        if parent is None and member is None:
            self._statuses.forget(key)
            self._dependents.pod_gone(key.partition("/")[0])
            del self._memory[key]
            return None
        unknown = self._state.unknown_reason
        if parent and member is None and not unknown:
            parent = await self._reflect_final(parent, memory)
        action = decide(
            parent,
            member,
            self._names,
            now=self._parent.server_time(),
            member_now=self._member.server_time(),
            created_uid=memory.created_uid,
            evictable=parent is None or memory.not_evicted != _as_evicted(parent),
        )
        if unknown:
            return await self._while_unknown(parent, action, memory, unknown)
        if parent is not None:
            return await self._act(parent, member, action, memory)
        if isinstance(action, Orphan) and member is not None:
            return await self._removals.delete_orphan(key, member)
        return None

    async def _act(self, parent: Pod, member: Pod | None, action: Action, memory: PodMemory) -> float | None:
        """Carries out what was decided about a parent pod that exists."""
        match action:
            case Reflect() if member:
                return await self._reflect(parent, member, memory)
            case Evict():
                return await self._evict(parent, member, action, memory)
            case Create():
                return await self._create(parent, action, memory)
            case AwaitGone() | Keep(reflect=True) if member:
                await self._statuses.reflect(parent, member)
            case Delete() if member:
                return await self._removals.delete(parent, member, action, memory)
            case Finish():
                return await self._removals.finish(parent, memory)
            case Fail():
                await self._fail(parent, action)
            case Conflict():
                memory.foreign = None  # look again: it may have been deleted
                return await self._member_pods.report_name_taken(parent, action.message)
            case Keep() | Nothing():
                pass
        return None

    async def _reflect(self, parent: Pod, member: Pod, memory: PodMemory) -> float | None:
        if (delay := await self._member_pods.reflect(parent, member, memory)) is not None:
            return delay
        now = self._member.server_time()
        if member.metadata.deletion_timestamp is not None:
            left = seconds_left(member, now)
            return left if left and left > 0 else None  # then its deletion is overdue
        if b'"Unschedulable"' in bytes(member.status) and (found := unschedulable_since(member)):
            if not self._state.may_evict:
                return LOOK_AGAIN
            waited = (now - found[0]).total_seconds()
            return await self._unschedulable.handle(parent, wellknown.MEMBER_UNSCHEDULABLE, found[1], waited)
        return None

    async def _evict(self, parent: Pod, member: Pod | None, action: Evict, memory: PodMemory) -> float | None:
        if member:
            await self._statuses.reflect(parent, member)
            parent = self._pods.parent.items.get(parent.metadata.key, parent)
        if pod_phase(parent).ended or not self._state.may_evict:
            return LOOK_AGAIN  # it has an end, which is kept; or the cache may not show what is true
        if await self._evictions.evict(parent, action.disruption):
            return None
        memory.not_evicted = _as_evicted(parent)
        return 0.0

    def _release_dependents(self, parent: Pod | None, member: Pod | None, memory: PodMemory) -> None:
        """What an earlier parent pod of that name needed is no longer needed, nor what one needed that has ended."""
        if memory.uid and (parent is None or parent.metadata.uid != memory.uid or self._is_over(parent, member)):
            self._dependents.release(memory.uid)
            memory.uid, memory.refusals = "", 0

    def _is_over(self, parent: Pod, member: Pod | None) -> bool:
        """Whether no container of the pod runs any more, or ever will: a kubelet has unmounted its volumes by then."""
        return pod_phase(parent).ended and (member is None or pod_phase(member).ended)

    async def _create(self, parent: Pod, action: Create, memory: PodMemory) -> float | None:
        if self._state.leaving:  # it arrived too late, and waits until it is evicted or the Node is gone
            self._dependents.pod_gone(parent.metadata.namespace)
            return None
        if not action.recreate and needs_admission(parent):
            rejection = admission.host_port_clash(parent, self._pods.parent.items.values())
            if rejection is None and admission.is_unchecked(parent):
                node = await self._parent.get(NODES, self._names.node, type=PartialObject)
                rejection = admission.misplaced(parent, node.metadata)
            if rejection is not None:
                await self._fail(parent, rejection)
                return None
        if memory.refusals and await self._moves(parent, memory):
            return None
        memory.uid = parent.metadata.uid
        delay = await self._member_pods.create(parent, memory, recreate=action.recreate)
        if memory.created_uid == parent.metadata.uid and not memory.refusals:
            memory.not_evicted = ("", "")
        return delay

    async def _moves(self, parent: Pod, memory: PodMemory) -> bool:
        """Whether a pod that the member has refused for long is evicted."""
        now = asyncio.get_running_loop().time()
        if now < memory.refused_look or not self._state.may_evict:
            return False
        waited = now - memory.refused_since
        delay = await self._unschedulable.handle(parent, wellknown.MEMBER_REFUSED, memory.refusal, waited)
        memory.refused_look = now + (delay or 0.0)
        return delay is None

    async def _fail(self, parent: Pod, action: Fail) -> None:
        self._event(parent, "Warning", action.reason, action.message)
        await self._statuses.fail(parent, action.reason, action.status_message)

    async def _while_unknown(self, parent: Pod | None, action: Action, memory: PodMemory, cause: str) -> float | None:
        if parent is None:
            return None
        memory.refusals = 0  # a member that comes back may accept the pod
        created = pod_phase(parent).has(wellknown.CREATED_CONDITION) or memory.created_uid == parent.metadata.uid
        if isinstance(action, Finish) and not memory.create_unknown and not created:
            return await self._removals.finish(parent, memory)  # it never was in the member, which need not be asked
        await self._statuses.mark_not_ready(parent, cause)
        return None

    async def _reflect_final(self, parent: Pod, memory: PodMemory) -> Pod:
        """Reflects the last status of a member pod that was removed, once. Returns the parent pod after that."""
        if (final := memory.final) and final.metadata.annotations.get(wellknown.PARENT_UID) == parent.metadata.uid:
            await self._statuses.reflect(parent, final)
            parent = self._pods.parent.items.get(parent.metadata.key, parent)
        memory.final = None
        return parent

    def _event(self, parent: Pod, type: str, reason: str, message: str) -> None:
        self._recorder.event(PODS, parent.metadata, type, reason, message)


def _as_evicted(parent: Pod) -> tuple[str, str]:
    """What `PodMemory.not_evicted` keeps of the pod."""
    return parent.metadata.uid, parent.metadata.annotations.get(wellknown.AT_MOST_ONCE, "")
