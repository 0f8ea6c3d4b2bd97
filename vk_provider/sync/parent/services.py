"""Services and EndpointSlices of the parent, kept once for all members and shrunk to what their reflections need.

Owns the indexes by namespace and by Service. Its informers outlive the members, which subscribe for as long as they are
served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Handler, Informer
from vk_provider.kube.objects import Object
from vk_provider.kube.resources import ENDPOINT_SLICES, SERVICES
from vk_provider.translate.dependents.services import EndpointSlice, ParentSlice, parent_service, parent_slice


class ParentServices:
    """See the module's text."""

    def __init__(self, client: Client) -> None:
        self._services: Informer[Object] = Informer(client, SERVICES, Object, keep=parent_service)
        self._slices: Informer[ParentSlice] = Informer(client, ENDPOINT_SLICES, EndpointSlice, keep=parent_slice)
        self._of_namespace: dict[str, set[str]] = {}
        self._of_service: dict[str, set[str]] = {}
        self._listeners: list[tuple[Handler[Object], Handler[ParentSlice]]] = []
        self._restored: list[Callable[[], None]] = []
        self._services.on_change(self._service_changed)
        self._slices.on_change(self._slice_changed)
        self._services.on_restore(self._on_restore)
        self._slices.on_restore(self._on_restore)

    async def run(self) -> None:
        """Keeps them current until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._services.run())
            group.create_task(self._slices.run())

    async def synced(self) -> None:
        """Returns when both are complete."""
        await self._services.synced.wait()
        await self._slices.synced.wait()

    @property
    def services(self) -> Mapping[str, Object]:
        return self._services.items

    @property
    def slices(self) -> Mapping[str, ParentSlice]:
        return self._slices.items

    def in_namespace(self, namespace: str) -> frozenset[str]:
        """Keys of the Services of a namespace."""
        return frozenset(self._of_namespace.get(namespace, ()))

    def slices_of(self, service: str) -> frozenset[str]:
        """Keys of the EndpointSlices of a Service."""
        return frozenset(self._of_service.get(service, ()))

    @contextmanager
    def subscribed(
        self, service: Handler[Object], slice: Handler[ParentSlice], restored: Callable[[], None]
    ) -> Iterator[None]:
        """Calls the handlers after every change within the block, and `restored` as `Informer.on_restore` has it."""
        listener = (service, slice)
        self._listeners.append(listener)
        self._restored.append(restored)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            self._restored.remove(restored)

    def _on_restore(self) -> None:
        for handler in self._restored:
            handler()

    def _service_changed(self, before: Object | None, after: Object | None) -> None:
        if found := after or before:
            _index(self._of_namespace, found.metadata.namespace, found.metadata.key, present=after is not None)
        for listener, _ in self._listeners:
            listener(before, after)

    def _slice_changed(self, before: ParentSlice | None, after: ParentSlice | None) -> None:
        if before is not None:
            _index(self._of_service, before.service, before.metadata.key, present=False)
        if after is not None:
            _index(self._of_service, after.service, after.metadata.key, present=True)
        for _, listener in self._listeners:
            listener(before, after)


def _index(index: dict[str, set[str]], group: str, key: str, *, present: bool) -> None:
    if present:
        index.setdefault(group, set()).add(key)
    elif group in index:
        index[group].discard(key)
        if not index[group]:
            del index[group]
