"""What we made of the parent's Services in a member: lists that are kept current, and how they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Object
from vk_provider.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
from vk_provider.sync.dependents.owned import OwnedObjects
from vk_provider.translate.dependents.services import (
    EndpointSlice,
    SliceCopy,
    allocated,
    must_replace,
    service_patch,
    slice_copy,
    slice_patch,
)
from vk_provider.translate.names import Names


@dataclass(frozen=True)
class Reflections:
    """See the module's text. Keys are those of the parent's objects."""

    services: Informer[Object]
    slices: Informer[SliceCopy]
    _names: Names
    _service: OwnedObjects
    _slice: OwnedObjects

    @classmethod
    def of(cls, member: Client, names: Names) -> Reflections:
        services: Informer[Object] = Informer(member, SERVICES, Object, labels=names.selector)
        slices: Informer[SliceCopy] = Informer(
            member, ENDPOINT_SLICES, EndpointSlice, labels=names.selector, keep=slice_copy
        )
        return cls(
            services,
            slices,
            names,
            OwnedObjects(member, names, SERVICES, Object, services),
            OwnedObjects(member, names, ENDPOINT_SLICES, EndpointSlice, slices),
        )

    def count(self) -> int:
        """How many there are."""
        return len(self.services.items) + len(self.slices.items)

    def service(self, key: str) -> Object | None:
        """The reflection of a Service, if there is one."""
        return self.services.items.get(self._names.member_key(key))

    def slice(self, key: str) -> SliceCopy | None:
        """The reflection of an EndpointSlice, if there is one."""
        return self.slices.items.get(self._names.member_key(key))

    async def put_service(self, manifest: dict[str, Any]) -> None:
        """Makes the Service as it should be. Raises as `OwnedObjects.write`.

        It gets an address of the member's own if the parent's is outside the member's range, or taken there.
        """
        existing = self.services.items.get(_key(manifest))
        if existing is not None and must_replace(manifest, existing):
            await self._service.delete(existing.metadata)
            existing = None
        patch = service_patch(manifest, existing) if existing else None
        if existing is None or patch:
            metadata = existing.metadata if existing else None
            await self._service.write(manifest, metadata, patch, otherwise=allocated(manifest))

    async def put_slice(self, manifest: dict[str, Any]) -> None:
        """Makes the EndpointSlice as it should be. Raises as `OwnedObjects.write`."""
        existing = self.slices.items.get(_key(manifest))
        patch = slice_patch(manifest, existing) if existing else None
        if existing is None or patch:
            await self._slice.write(manifest, existing.metadata if existing else None, patch)

    async def delete(self, resource: Resource, metadata: Metadata) -> None:
        """Deletes this incarnation. One that does not exist any more is fine."""
        await (self._service if resource is SERVICES else self._slice).delete(metadata)


def _key(manifest: dict[str, Any]) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
