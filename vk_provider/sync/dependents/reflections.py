"""What a virtual node made of the parent's Services in the member: lists that are kept, and how they are written.

Only what carries our labels is changed or deleted. Every write is observed at once, so that the lists are never behind
what was done.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vk_provider.errors import ConflictError, InvalidError, NameTakenError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Object, PartialObject
from vk_provider.kube.resources import ENDPOINT_SLICES, SERVICES, Resource
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
    """See the module's text. Keys are those of the parent."""

    services: Informer[Object]
    slices: Informer[SliceCopy]
    _names: Names
    _member: Client

    @classmethod
    def of(cls, member: Client, names: Names) -> Reflections:
        return cls(
            Informer(member, SERVICES, Object, labels=names.selector),
            Informer(member, ENDPOINT_SLICES, EndpointSlice, labels=names.selector, keep=slice_copy),
            names,
            member,
        )

    def count(self) -> int:
        return len(self.services.items) + len(self.slices.items)

    def service(self, key: str) -> Object | None:
        """The reflection of a Service, if there is one."""
        return self.services.items.get(self._member_key(key))

    def slice(self, key: str) -> SliceCopy | None:
        """The reflection of an EndpointSlice, if there is one."""
        return self.slices.items.get(self._member_key(key))

    async def put_service(self, manifest: dict[str, Any]) -> None:
        """Makes the Service as it should be. Raises NameTakenError where something that is not ours has the name."""
        existing = self.services.items.get(_key(manifest))
        if existing is not None and must_replace(manifest, existing):
            await self.delete(SERVICES, existing.metadata)
            existing = None
        patch = service_patch(manifest, existing) if existing else None
        if existing is None or patch:
            metadata = existing.metadata if existing else None
            await self._write(SERVICES, manifest, self.services, metadata, patch, Object)

    async def put_slice(self, manifest: dict[str, Any]) -> None:
        """Makes the EndpointSlice as it should be. Raises NameTakenError as `put_service` does."""
        existing = self.slices.items.get(_key(manifest))
        patch = slice_patch(manifest, existing) if existing else None
        if existing is None or patch:
            metadata = existing.metadata if existing else None
            await self._write(ENDPOINT_SLICES, manifest, self.slices, metadata, patch, EndpointSlice)

    async def delete(self, resource: Resource, metadata: Metadata) -> None:
        """Deletes this very one. Absent already is fine."""
        try:
            await self._member.delete(resource, metadata.name, metadata.namespace, uid=metadata.uid)
        except (NotFoundError, ConflictError):
            pass

    async def _write(
        self,
        resource: Resource,
        manifest: dict[str, Any],
        ours: Informer[Any],
        existing: Metadata | None,
        patch: dict[str, Any] | None,
        type: type[Any],
    ) -> None:
        """Patches what exists, or creates."""
        name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        if existing is not None:
            try:
                ours.observe(await self._member.patch(resource, name, patch, namespace, type=type))
                return
            except NotFoundError:
                return  # the watch will say so
            except InvalidError:
                await self.delete(resource, existing)  # not every field may change: only a new one will do
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
            found = await self._member.get(resource, name, namespace, type=PartialObject)
            return self._names.owns(found.metadata.labels)
        except NotFoundError:
            return True  # it has just gone

    def _member_key(self, key: str) -> str:
        namespace, name = key.split("/", 1)
        return f"{self._names.namespace(namespace)}/{name}"


def _key(manifest: dict[str, Any]) -> str:
    return f"{manifest['metadata']['namespace']}/{manifest['metadata']['name']}"
