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
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from vk_provider.api import words
from vk_provider.errors import ConflictError, ForbiddenError, InvalidError, NameTakenError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Handler, Informer
from vk_provider.kube.objects import Metadata, Named, Object, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.translate.names import Names
from vk_provider.translate.services import (
    OF_EACH_CLUSTER,
    EndpointSlice,
    ParentSlice,
    SliceCopy,
    allocated,
    concerns,
    member_service,
    member_slice,
    must_replace,
    service_patch,
    slice_copy,
    slice_patch,
)

log = logging.getLogger(__name__)

_LINGER: Final = 20.0  # seconds that Services stay after the last pod of their namespace: the next one may be near
_FIRST: Final = 5.0  # seconds that the first pod of a namespace waits for its Services
_REFUSALS: Final = 5  # in a row until they are said: an API server that has just started refuses what it will allow
_CONFLICT_RETRY: Final = 30.0  # seconds until a taken name is tried again
_LOOK_AGAIN: Final = 5.0  # seconds, at what is to be removed and is kept for now
_AFTER_REWIND: Final = 60.0  # seconds in which nothing is removed: it takes until the parent's pods are listed anew
_TERMINATING: Final = "being terminated"  # of a namespace, in the words of an API server


class Source(Protocol):
    """Port: the Services and EndpointSlices of the parent, which all members share."""

    @property
    def services(self) -> Mapping[str, Object]: ...

    @property
    def slices(self) -> Mapping[str, ParentSlice]: ...

    def in_namespace(self, namespace: str) -> frozenset[str]: ...

    def slices_of(self, service: str) -> frozenset[str]: ...

    def heard(
        self, service: Handler[Object], slice: Handler[ParentSlice], rewound: Callable[[], None]
    ) -> AbstractContextManager[None]: ...


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


@dataclass(frozen=True)
class Reflections:
    """What this virtual node made in the member."""

    services: Informer[Object]
    slices: Informer[SliceCopy]

    @classmethod
    def of(cls, member: Client, selector: str) -> Reflections:
        return cls(
            Informer(member, SERVICES, Object, labels=selector),
            Informer(member, ENDPOINT_SLICES, EndpointSlice, labels=selector, keep=slice_copy),
        )

    def count(self) -> int:
        return len(self.services.items) + len(self.slices.items)


class ServiceLoop:
    """See the module's text."""

    def __init__(
        self,
        names: Names,
        parent: Source,
        member: Client,
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
        self._names, self._parent, self._member, self._ours = names, parent, member, ours
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
        with self._parent.heard(self._service_changed, self._slice_changed, self._rewound):
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

    def _member_key(self, key: str) -> str:
        namespace, name = key.split("/", 1)
        return f"{self._names.namespace(namespace)}/{name}"

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
            self._complain(item, words.NAME_CONFLICT, error.message, at=1)
            return _CONFLICT_RETRY
        except (NotFoundError, ForbiddenError, InvalidError) as error:
            if isinstance(error, NotFoundError) or _TERMINATING in error.message:
                self._abandon(item.namespace)  # the member's namespace is gone; the next pod brings everything anew
                return None
            self._complain(item, words.MEMBER_REFUSED, error.message, at=_REFUSALS)
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
        existing = self._ours.services.items.get(self._member_key(item.key))
        service = self._wanted(item.key)
        try:
            if service is not None:
                await self._write_service(service, existing)
            elif existing is not None:
                return await self._remove(SERVICES, existing.metadata)
            return None
        finally:  # they are wanted where the Service is there, and ours
            for key in self._parent.slices_of(item.key):
                self.queue.add(Item("EndpointSlice", key))

    def _wanted(self, key: str) -> Object | None:
        """The Service of the parent, if it has to be in the member."""
        wanted = key.partition("/")[0] in self._in_use and key not in OF_EACH_CLUSTER
        return self._parent.services.get(key) if wanted else None

    async def _write_service(self, service: Object, existing: Object | None) -> None:
        manifest = member_service(service, self._names)
        if existing is not None and must_replace(manifest, existing):
            await self._delete(SERVICES, existing.metadata)
            existing = None
        patch = service_patch(manifest, existing) if existing else None
        if existing is None or patch:
            metadata = existing.metadata if existing else None
            await self._write(SERVICES, manifest, self._ours.services, metadata, patch, Object)

    async def _sync_slice(self, item: Item) -> float | None:
        found = self._parent.slices.get(item.key)
        existing = self._ours.slices.items.get(self._member_key(item.key))
        manifest = None
        service = self._wanted(found.service) if found else None
        if found and service and self._member_key(found.service) in self._ours.services.items:
            manifest = member_slice(found, service, self._names, flat=self._flat)
        if manifest is None:
            return await self._remove(ENDPOINT_SLICES, existing.metadata) if existing is not None else None
        patch = slice_patch(manifest, existing) if existing else None
        if existing is None or patch:
            metadata = existing.metadata if existing else None
            await self._write(ENDPOINT_SLICES, manifest, self._ours.slices, metadata, patch, EndpointSlice)
        return None

    async def _write(
        self,
        resource: Resource,
        manifest: dict[str, Any],
        ours: Informer[Any],
        existing: Metadata | None,
        patch: dict[str, Any] | None,
        type: type[Any],
    ) -> None:
        """Patches what exists, or creates. Raises NameTakenError where something that is not ours has the name."""
        name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        if existing is not None:
            try:
                ours.observe(await self._member.patch(resource, name, patch, namespace, type=type))
                return
            except NotFoundError:
                return  # the watch will say so
            except InvalidError:
                await self._delete(resource, existing)  # not every field may change: only a new one will do
        try:
            ours.observe(await self._create(resource, manifest, namespace, type))
        except ConflictError as error:
            if await self._is_ours(resource, name, namespace):
                raise  # the cache is behind: the next attempt patches it
            raise NameTakenError(
                f"a {resource.kind} {namespace}/{name} that is not managed by virtual node {self._names.node} exists "
                "in the member cluster: pods there meet that one"
            ) from error

    async def _create(self, resource: Resource, manifest: dict[str, Any], namespace: str, type: type[Any]) -> Any:
        """A Service gets an address of the member's own where the parent's is out of its ranges, or taken there."""
        try:
            return await self._member.create(resource, manifest, namespace, type=type)
        except InvalidError:
            other = allocated(manifest) if resource is SERVICES else None
            if other is None:
                raise
            return await self._member.create(resource, other, namespace, type=type)

    async def _is_ours(self, resource: Resource, name: str, namespace: str) -> bool:
        try:
            found = await self._member.get(resource, name, namespace, type=Named)
            return self._names.owns(found.metadata.labels)
        except NotFoundError:
            return True  # it has just gone

    async def _remove(self, resource: Resource, metadata: Metadata) -> float | None:
        """Deletes what the parent no longer has, or gives the seconds until it may be time to."""
        if self._keep() or asyncio.get_running_loop().time() < self._keep_until:
            return _LOOK_AGAIN
        await self._delete(resource, metadata)
        return None

    async def _delete(self, resource: Resource, metadata: Metadata) -> None:
        try:
            await self._member.delete(resource, metadata.name, metadata.namespace, uid=metadata.uid)
        except (NotFoundError, ConflictError):
            pass

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
