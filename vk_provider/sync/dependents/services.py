"""The parent's Services in the member, for the namespaces that hold pods of its virtual node.

Level-triggered by object: a Service of the parent is in the member as long as its namespace is in use there, and each
of its EndpointSlices as long as that lists something here; any other reflection of ours goes, but not while pods that
the parent does not know may still need it.

    first pod of a namespace -> `ensure`: its Services are brought -> in use -(no pod is left, for a while)-> they go

The loop owns which namespaces are in use. Pods wait for their Services, because a kubelet puts those into the
environment of containers that start: once per namespace, and not for ever.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from vk_provider.api import wellknown
from vk_provider.errors import ForbiddenError, InvalidError, NameTakenError, NotFoundError
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import HasMetadata, Object, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.ports import Source
from vk_provider.sync.dependents.reflections import Reflections
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
_REFUSALS: Final = 5  # in a row until they are said: an API server that has just started refuses what it will allow
_CONFLICT_RETRY: Final = 30.0  # seconds until a taken name is tried again
_LOOK_AGAIN: Final = 5.0  # seconds, at what is to be removed and is kept for now
_AFTER_REWIND: Final = 60.0  # seconds in which nothing is removed: it takes until the parent's pods are listed anew
_TERMINATING: Final = "being terminated"  # of a namespace, in the words of an API server


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
    """A namespace in use: `missing` are the Services that have not been looked at since it is."""

    missing: set[str]
    ready: asyncio.Event = field(default_factory=asyncio.Event)

    def seen(self, service: str) -> None:
        self.missing.discard(service)
        if not self.missing:
            self.ready.set()


class ServiceLoop:
    """See the module's text."""

    def __init__(
        self,
        names: Names,
        parent: Source,
        ours: Reflections,
        pods: tuple[Informer[Pod], Informer[Pod]],
        recorder: Recorder,
        *,
        keep: Callable[[], bool],
        flat: bool,
        leaving: bool,
    ) -> None:
        """`pods`: those of the parent and ours of the member. `keep` tells whether what the parent no longer has stays
        for now: pods that it does not know may run. `leaving`: what is not in use goes at once."""
        self._names, self._parent, self._ours = names, parent, ours
        self._pods, self._recorder, self._keep = pods, recorder, keep
        self._keep_until = 0.0  # loop time
        self._flat, self._linger = flat, 0.0 if leaving else _LINGER
        self._in_use: dict[str, _InUse] = {}
        self._wrong: dict[Item, tuple[str, int]] = {}  # what is wrong with it, and how often that was met in a row
        self.queue: WorkQueue[Item] = WorkQueue("services", self._reconcile, workers=8)

    async def run(self) -> None:
        """Works until cancelled. All informers must be synced."""
        parent_pods, member_pods = self._pods
        for pod in member_pods.items.values():
            self._use(self._names.parent_key(pod.metadata).partition("/")[0])
        parent_pods.on_change(self._parent_pod_changed)
        member_pods.on_change(self._member_pod_changed)
        with self._parent.subscribed(self._service_changed, self._slice_changed, self._rewound):
            self._ours.services.on_change(self._our_service_changed)
            self._ours.slices.on_change(self._our_slice_changed)
            await self.queue.run()

    def follow(self, *, flat: bool) -> None:
        """Takes up whether addresses of pods elsewhere are of use here."""
        if flat != self._flat:
            self._flat = flat
            self.resync()

    def resync(self) -> None:
        """Looks at every Service again, and at those that failed at once: the member answers again."""
        for namespace in self._in_use:
            for key in self._parent.in_namespace(namespace):
                self.queue.add(Item("Service", key))
        for found in self._ours.services.items.values():
            self._our_service_changed(None, found)
        for copy in self._ours.slices.items.values():
            self._our_slice_changed(None, copy)

    async def ensure(self, parent_namespace: str) -> None:
        """Returns when the Services of a namespace are in the member, or have been tried; costs nothing when they are.

        The member's namespace must exist.
        """
        used = self._in_use.get(parent_namespace) or self._use(parent_namespace)
        if used.ready.is_set():
            return
        try:
            async with asyncio.timeout(_FIRST):
                await used.ready.wait()
        except TimeoutError:
            used.ready.set()
            log.warning("services not reflected in time", extra={"namespace": parent_namespace})

    def _use(self, namespace: str) -> _InUse:
        if (used := self._in_use.get(namespace)) is None:
            services = self._parent.in_namespace(namespace) - OF_EACH_CLUSTER
            used = self._in_use[namespace] = _InUse(set(services))
            for key in services:
                self.queue.add(Item("Service", key))
            if not services:
                used.ready.set()
            self.queue.add_after(Item("Namespace", namespace), self._linger)  # its pod may never come
        return used

    def _abandon(self, namespace: str) -> None:
        if used := self._in_use.pop(namespace, None):
            used.ready.set()

    def _parent_pod_changed(self, before: Pod | None, after: Pod | None) -> None:
        if before is not None and after is None:
            self.queue.add_after(Item("Namespace", before.metadata.namespace), self._linger)

    def _member_pod_changed(self, before: Pod | None, after: Pod | None) -> None:
        if before is not None and after is None:
            namespace = self._names.parent_key(before.metadata).partition("/")[0]
            self.queue.add_after(Item("Namespace", namespace), self._linger)

    def _service_changed(self, before: Object | None, after: Object | None) -> None:
        found = after or before
        if found and found.metadata.namespace in self._in_use:
            self.queue.add(Item("Service", found.metadata.key))

    def _slice_changed(self, before: ParentSlice | None, after: ParentSlice | None) -> None:
        found = after or before
        if (
            found
            and found.metadata.namespace in self._in_use
            and concerns(before, after, self._names.node, flat=self._flat)
        ):
            self.queue.add(Item("EndpointSlice", found.metadata.key))

    def _rewound(self) -> None:
        """The parent went back in time. What it no longer knows of Services may be known of its pods only later."""
        self._keep_until = asyncio.get_running_loop().time() + _AFTER_REWIND

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
            self._wrong.pop(item, None)
            return delay
        except NameTakenError as error:
            self._complain(item, wellknown.NAME_CONFLICT, error.message, at=1)
            return _CONFLICT_RETRY
        except (NotFoundError, ForbiddenError, InvalidError) as error:
            if isinstance(error, NotFoundError) or _TERMINATING in error.message:
                self._abandon(item.namespace)  # the member's namespace is gone; the next pod brings everything anew
                return None
            self._complain(item, wellknown.MEMBER_REFUSED, error.message, at=_REFUSALS)
            raise
        finally:
            if used and item.kind == "Service":
                used.seen(item.key)

    def _leave_if_empty(self, namespace: str) -> None:
        """Where no pod is left, what was brought for them goes."""
        for pods, name in zip(self._pods, (namespace, self._names.namespace(namespace)), strict=True):
            if any(pod.metadata.namespace == name for pod in pods.items.values()):
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
        finally:  # they are wanted where the Service is there, and ours
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
            manifest = member_slice(found, service, self._names, flat=self._flat)
        if manifest is None:
            return await self._remove(ENDPOINT_SLICES, self._ours.slice(item.key))
        await self._ours.put_slice(manifest)
        return None

    async def _remove(self, resource: Resource, existing: HasMetadata | None) -> float | None:
        """Deletes what the parent no longer has, or gives the seconds until it may be time to."""
        if existing is None:
            return None
        if self._keep() or asyncio.get_running_loop().time() < self._keep_until:
            return _LOOK_AGAIN
        await self._ours.delete(resource, existing.metadata)
        return None

    def _complain(self, item: Item, reason: str, message: str, *, at: int) -> None:
        """Says on the parent's Service what is wrong, when it is met for the `at`th time in a row, and not again."""
        last, times = self._wrong.get(item, ("", 0))
        times = times + 1 if message == last else 1
        self._wrong[item] = message, times
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
