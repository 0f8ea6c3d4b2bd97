"""What a virtual node made in the member for what its pods name: lists that are kept, and how they are written.

Only what carries our labels is changed or deleted. Every write is observed at once, so that the lists are never behind
what was done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.errors import ConflictError, InvalidError, NameTakenError, NotFoundError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Payload
from vk_provider.kube.resources import CONFIG_MAPS, SECRETS, Resource
from vk_provider.translate.dependents.needs import Copy, Kind, copy_of
from vk_provider.translate.names import Names

RESOURCES: Final[Mapping[Kind, Resource]] = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS}


@dataclass(frozen=True)
class Copies:
    """See the module's text. Keys are those of the member."""

    lists: Mapping[Kind, Informer[Copy]]
    _names: Names
    _member: Client

    @classmethod
    def of(cls, member: Client, names: Names) -> Copies:
        lists: dict[Kind, Informer[Copy]] = {
            kind: Informer(member, resource, Payload, labels=names.selector, keep=copy_of)
            for kind, resource in RESOURCES.items()
        }
        return cls(lists, names, member)

    def count(self) -> int:
        return sum(len(informer.items) for informer in self.lists.values())

    def find(self, kind: Kind, key: str) -> Copy | None:
        """What is there of ours under that key."""
        return self.lists[kind].items.get(key)

    async def put(self, kind: Kind, manifest: dict[str, Any], copy: Copy | None) -> None:
        """Makes the object, or makes `copy` what it should be. Raises NameTakenError where something that is not ours
        has the name.
        """
        resource, metadata = RESOURCES[kind], manifest["metadata"]
        name, namespace = metadata["name"], metadata["namespace"]
        try:
            if copy is None:
                written = await self._member.create(resource, manifest, namespace, type=Payload)
            else:
                body = _replacement(manifest, copy)
                written = await self._member.patch(
                    resource, name, body, namespace, type=Payload, patch_type=PatchType.JSON
                )
        except InvalidError:
            if copy is None:
                raise
            await self.delete(kind, copy.metadata)  # immutable, or another type: only a new one will do
            written = await self._member.create(resource, manifest, namespace, type=Payload)
        except ConflictError as error:
            if error.reason != "AlreadyExists":
                raise
            raise NameTakenError(
                f"a {kind} {namespace}/{name} that is not managed by virtual node {self._names.node} exists in the "
                "member cluster",
            ) from error
        self.lists[kind].observe(written)

    async def delete(self, kind: Kind, metadata: Metadata) -> None:
        """Deletes this very one. Absent already is fine."""
        try:
            await self._member.delete(RESOURCES[kind], metadata.name, metadata.namespace, uid=metadata.uid)
        except (NotFoundError, ConflictError):
            pass


def _replacement(manifest: dict[str, Any], copy: Copy) -> list[dict[str, Any]]:
    """A JSON patch of this very copy: whole maps are replaced, since a merge would keep keys that are gone."""
    parts = ["data"] + (["binaryData"] if manifest["kind"] == "ConfigMap" else [])
    immutable = [{"op": "add", "path": "/immutable", "value": True}] if manifest.get("immutable") else []
    return [
        {"op": "test", "path": "/metadata/uid", "value": copy.metadata.uid},
        {"op": "add", "path": "/metadata/annotations", "value": manifest["metadata"]["annotations"]},
        *({"op": "add", "path": f"/{part}", "value": manifest.get(part) or {}} for part in parts),
        *immutable,
    ]
