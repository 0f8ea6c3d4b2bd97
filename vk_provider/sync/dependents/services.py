"""The parent's Services in the member, for the namespaces that hold pods of its virtual nodes.

Level-triggered by object: a Service of the parent is in the member as long as its namespace is in use there, and each
of its EndpointSlices as long as it lists an endpoint that is of use there. Any other reflection of ours is deleted, but
not while orphans are held, which may still need it.

    first pod of a namespace -> `ensure`: its Services are created -> in use -(no pod for a while)-> they are deleted

Owns which namespaces are in use. Pods wait for their Services, because a kubelet puts those into the environment of
containers that start: once per namespace, and not for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import ForbiddenError, InvalidError, NameTakenError, NotFoundError
from vk_provider.kube.objects import HasMetadata, Object
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.observable import Observable
from vk_provider.sync.dependents.protocols import ParentServices
from vk_provider.sync.dependents.reflections import Reflections
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.dependents.services import (
    OF_EACH_CLUSTER,
    ParentSlice,
    SliceCopy,
    concerns,
    member_service,
    member_slice,
)
from vk_provider.translate.names import Names

log = logging.getLogger(__name__)

_LINGER: Final = 20.0  # seconds that Services stay after the last pod of their namespace: the next one may be near
_FIRST: Final = 5.0  # seconds that the first pod of a namespace waits for its Services
_REFUSALS: Final = 5  # in a row until they are reported: an API server that starts refuses what it will allow
_CONFLICT_RETRY: Final = 30.0  # seconds until a taken name is tried again
_LOOK_AGAIN: Final = 5.0  # seconds until a reflection that is kept for now is looked at again
_AFTER_RESTORE: Final = 60.0  # seconds in which nothing is deleted: the parent's pods are listed again meanwhile
_TERMINATING: Final = "being terminated"  # in the message of an API server about a namespace


@dataclass(frozen=True)
class Item:
    """Work: an object of the parent by its key, or a namespace that may have lost its last pod."""

    kind: Literal["Service", "EndpointSlice", "Namespace"]
    key: str

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]


@dataclass
class _InUse:
    """A namespace in use: `missing` are the Services that have not been tried since it became that."""

    missing: set[str]
    tried: asyncio.Event = field(default_factory=asyncio.Event)

    def seen(self, service: str) -> None:
        self.missing.discard(service)
        if not self.missing:
            self.tried.set()


class ServiceLoop:
    """See the module's text."""

    def __init__(
        self,
        names: Names,
        parent: ParentServices,
        ours: Reflections,
        nodes: Sequence[PodCaches],
        cluster: Observable[MemberCluster],
        state: MemberState,
        recorder: Recorder,
    ) -> None:
        """`nodes`: the pods of each virtual node."""
        self._names, self._parent, self._ours, self._nodes = names, parent, ours, nodes
        self._cluster, self._state, self._recorder = cluster, state, recorder
        self._node_names = frozenset(node.names.node for node in nodes)
        self._keep_until = 0.0  # loop time
        self._flat = cluster.value.spec.network.flat
        self._linger = 0.0 if cluster.value.metadata.deletion_timestamp else _LINGER
        self._in_use: dict[str, _InUse] = {}
        self.ready: set[str] = set()  # namespaces of the parent whose Services are in the member, or have been tried
        self._problems: dict[Item, tuple[str, int]] = {}  # what is wrong with it, and how often that was met in a row
        self.queue: WorkQueue[Item] = WorkQueue("services", self._reconcile, workers=8)

    async def run(self) -> None:
        """Works until cancelled. All informers must be synced."""
        for node in self._nodes:
            for pod in node.member.items.values():
                self._use(self._names.parent_key(pod.metadata).partition("/")[0])
        self._cluster.subscribe(self._cluster_changed)
        self._cluster_changed()  # it may have changed since this loop was built
        self._state.on_resync(self._resync)
        with self._parent.subscribed(self._service_changed, self._slice_changed, self._restored):
            self._ours.services.on_change(self._our_service_changed)
            self._ours.slices.on_change(self._our_slice_changed)
            await self.queue.run()

    def _cluster_changed(self) -> None:
        """Whether addresses of pods elsewhere can be reached here may be another now."""
        if (flat := self._cluster.value.spec.network.flat) != self._flat:
            self._flat = flat
            self._look_again()

    def _resync(self) -> None:
        if not self._state.unknown_reason:
            self._look_again()

    def _look_again(self) -> None:
        """Looks at every Service again, at once also at those that failed."""
        for namespace in self._in_use:
            for key in self._parent.in_namespace(namespace):
                self.queue.add(Item("Service", key))
        for found in self._ours.services.items.values():
            self._our_service_changed(None, found)
        for copy in self._ours.slices.items.values():
            self._our_slice_changed(None, copy)

    async def ensure(self, parent_namespace: str) -> None:
        """Returns when the Services of a namespace are in the member, or have been tried for a few seconds.

        The member's namespace must exist.
        """
        used = self._use(parent_namespace)
        try:
            async with asyncio.timeout(_FIRST):
                await used.tried.wait()
        except TimeoutError:
            used.tried.set()
            log.warning("services not reflected in time", extra={"namespace": parent_namespace})
        if self._in_use.get(parent_namespace) is used:
            self.ready.add(parent_namespace)

    def pod_gone(self, namespace: str) -> None:
        """A pod of a parent namespace no longer exists on either side."""
        self.queue.add_after(Item("Namespace", namespace), self._linger)

    def _use(self, namespace: str) -> _InUse:
        if (used := self._in_use.get(namespace)) is None:
            services = self._parent.in_namespace(namespace) - OF_EACH_CLUSTER
            used = self._in_use[namespace] = _InUse(set(services))
            for key in services:
                self.queue.add(Item("Service", key))
            if not services:
                used.tried.set()
            self.queue.add_after(Item("Namespace", namespace), self._linger)  # its pod may never be created
        return used

    def _abandon(self, namespace: str) -> None:
        self.ready.discard(namespace)
        if used := self._in_use.pop(namespace, None):
            used.tried.set()

    def _service_changed(self, before: Object | None, after: Object | None) -> None:
        found = after or before
        if found and found.metadata.namespace in self._in_use:
            self.queue.add(Item("Service", found.metadata.key))

    def _slice_changed(self, before: ParentSlice | None, after: ParentSlice | None) -> None:
        found = after or before
        if (
            found
            and found.metadata.namespace in self._in_use
            and concerns(before, after, self._node_names, flat=self._flat)
        ):
            self.queue.add(Item("EndpointSlice", found.metadata.key))

    def _restored(self) -> None:
        """The parent went back in time. What it no longer knows of Services may be known of its pods only later."""
        self._keep_until = asyncio.get_running_loop().time() + _AFTER_RESTORE

    def _our_service_changed(self, before: Object | None, after: Object | None) -> None:
        if found := after or before:
            self.queue.add(Item("Service", self._names.parent_key(found.metadata)))

    def _our_slice_changed(self, before: SliceCopy | None, after: SliceCopy | None) -> None:
        if found := after or before:
            self.queue.add(Item("EndpointSlice", self._names.parent_key(found.metadata)))

    async def _reconcile(self, item: Item) -> float | None:
        if item.kind == "Namespace":
            self._leave_if_empty(item.key)
            return None
        used = self._in_use.get(item.namespace)
        try:
            sync = self._sync_service if item.kind == "Service" else self._sync_slice
            delay = await sync(item)
            self._problems.pop(item, None)
            return delay
        except NameTakenError as error:
            self._report(item, wellknown.NAME_CONFLICT, error.message, at=1)
            return _CONFLICT_RETRY
        except (NotFoundError, ForbiddenError, InvalidError) as error:
            if isinstance(error, NotFoundError) or _TERMINATING in error.message:
                self._abandon(item.namespace)  # the member's namespace is deleted; the next pod brings everything again
                return None
            self._report(item, wellknown.MEMBER_REFUSED, error.message, at=_REFUSALS)
            raise
        finally:
            if used and item.kind == "Service":
                used.seen(item.key)

    def _leave_if_empty(self, namespace: str) -> None:
        """If no pod is left in a namespace, deletes what was created for them."""
        mapped = self._names.namespace(namespace)
        for node in self._nodes:
            # A member that leaves gets no more pods, whatever is bound to its node.
            parents = () if self._state.leaving else ((node.parent, namespace),)
            for pods, name in (*parents, (node.member, mapped)):
                if pods.holds(name):
                    return
        self._abandon(namespace)
        for key in self._parent.in_namespace(namespace):
            self.queue.add(Item("Service", key))

    async def _sync_service(self, item: Item) -> float | None:
        service = self._wanted(item.key)
        try:
            if service is None:
                return await self._remove(SERVICES, self._ours.service(item.key))
            await self._ours.put_service(member_service(service, self._names))
            return None
        finally:  # its slices are wanted if the Service exists, and is ours
            for key in self._parent.slices_of(item.key):
                self.queue.add(Item("EndpointSlice", key))

    def _wanted(self, key: str) -> Object | None:
        """The Service of the parent, if it has to be in the member."""
        wanted = key.partition("/")[0] in self._in_use and key not in OF_EACH_CLUSTER
        return self._parent.services.get(key) if wanted else None

    async def _sync_slice(self, item: Item) -> float | None:
        found = self._parent.slices.get(item.key)
        service = self._wanted(found.service) if found else None
        manifest = None
        if found and service and self._ours.service(found.service):
            manifest = member_slice(found, service, self._names, self._node_names, flat=self._flat)
        if manifest is None:
            return await self._remove(ENDPOINT_SLICES, self._ours.slice(item.key))
        await self._ours.put_slice(manifest)
        return None

    async def _remove(self, resource: Resource, existing: HasMetadata | None) -> float | None:
        """Deletes what the parent no longer has. Returns the seconds to wait if it may not be deleted yet."""
        if existing is None:
            return None
        if self._state.orphans_held or asyncio.get_running_loop().time() < self._keep_until:
            return _LOOK_AGAIN
        await self._ours.delete(resource, existing.metadata)
        return None

    def _report(self, item: Item, reason: str, message: str, *, at: int) -> None:
        """Records an Event on the parent's Service when a problem occurs for the `at`th time in a row, once."""
        last, times = self._problems.get(item, ("", 0))
        times = times + 1 if message == last else 1
        self._problems[item] = message, times
        if times != at:
            return
        key = item.key
        if item.kind == "EndpointSlice":
            found = self._parent.slices.get(key)
            key = found.service if found else ""
        service = self._parent.services.get(key)
        if service is not None:
            log.warning("not reflected", extra={"object": item.key, "kind": item.kind, "error": message})
            self._recorder.event(SERVICES, service.metadata, "Warning", reason, message)
