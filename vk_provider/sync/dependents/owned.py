"""Objects of ours in a member: created, patched if they are ours, and never touched if they are not.

An object is ours if it carries our labels. Every write is observed at once, so that a cache is never behind what was
done.
"""

from __future__ import annotations

from typing import Any

from vk_provider.errors import ConflictError, InvalidError, NameTakenError, NotFoundError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata
from vk_provider.kube.resources import Resource
from vk_provider.translate.names import Names


class OwnedObjects:
    """The objects of one resource type that are ours in a member. `cache` holds them; its owner runs it."""

    def __init__(self, member: Client, names: Names, resource: Resource, type: type[Any], cache: Informer[Any]) -> None:
        """`type` is what the cache decodes."""
        self._member, self._names = member, names
        self._resource, self._type, self._cache = resource, type, cache

    async def write(
        self,
        manifest: dict[str, Any],
        existing: Metadata | None,
        patch: Any,
        patch_type: PatchType = PatchType.MERGE,
        *,
        otherwise: dict[str, Any] | None = None,
    ) -> None:
        """Patches `existing`, or creates the object from `manifest`.

        An object whose change the member refuses (immutable, another type) is replaced. `otherwise` is the manifest to
        create if the member refuses the first one. Raises NameTakenError if an object that is not ours has the name,
        and ConflictError if one of ours has it that the cache did not show: the next attempt patches that.
        """
        name, namespace = manifest["metadata"]["name"], manifest["metadata"]["namespace"]
        if existing is not None:
            try:
                written = await self._member.patch(
                    self._resource, name, patch, namespace, type=self._type, patch_type=patch_type
                )
                self._cache.observe(written)
                return
            except NotFoundError:
                pass  # deleted by another client, which the cache does not show yet
            except InvalidError:
                await self.delete(existing)
        try:
            self._cache.observe(await self._create(manifest, otherwise, namespace))
        except ConflictError as error:
            if error.reason != "AlreadyExists" or await self._is_ours(name, namespace):
                raise
            raise NameTakenError(
                f"a {self._resource.kind} {namespace}/{name} that is not managed by virtual node {self._names.node} "
                "exists in the member cluster"
            ) from error

    async def delete(self, metadata: Metadata) -> None:
        """Deletes this incarnation. One that does not exist any more is fine."""
        try:
            await self._member.delete(self._resource, metadata.name, metadata.namespace, uid=metadata.uid)
        except (NotFoundError, ConflictError):
            pass

    async def _create(self, manifest: dict[str, Any], otherwise: dict[str, Any] | None, namespace: str) -> Any:
        try:
            return await self._member.create(self._resource, manifest, namespace, type=self._type)
        except InvalidError:
            if otherwise is None:
                raise
            return await self._member.create(self._resource, otherwise, namespace, type=self._type)

    async def _is_ours(self, name: str, namespace: str) -> bool:
        try:
            found = await self._member.get(self._resource, name, namespace, type=self._type)
        except NotFoundError:
            return True  # it has just been deleted
        if ours := self._names.owns(found.metadata.labels):
            self._cache.observe(found)
        return ours
