"""The ConfigMaps and Secrets that we made in a member for pods: lists that are kept current, and their writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Payload
from vk_provider.kube.resources import CONFIG_MAPS, SECRETS, Resource
from vk_provider.sync.dependents.owned import OwnedObjects
from vk_provider.translate.dependents.copies import Copy, copy_of
from vk_provider.translate.names import Names
from vk_provider.translate.references import Kind

RESOURCES: Final[Mapping[Kind, Resource]] = {"ConfigMap": CONFIG_MAPS, "Secret": SECRETS}


@dataclass(frozen=True)
class Copies:
    """See the module's text. Keys are `namespace/name` in the member."""

    lists: Mapping[Kind, Informer[Copy]]
    _owned: Mapping[Kind, OwnedObjects]

    @classmethod
    def of(cls, member: Client, names: Names) -> Copies:
        lists: dict[Kind, Informer[Copy]] = {
            kind: Informer(member, resource, Payload, labels=names.selector, keep=copy_of)
            for kind, resource in RESOURCES.items()
        }
        owned = {
            kind: OwnedObjects(member, names, resource, Payload, lists[kind]) for kind, resource in RESOURCES.items()
        }
        return cls(lists, owned)

    def count(self) -> int:
        """How many there are."""
        return sum(len(informer.items) for informer in self.lists.values())

    def find(self, kind: Kind, key: str) -> Copy | None:
        """The copy under that key, if there is one."""
        return self.lists[kind].items.get(key)

    async def put(self, kind: Kind, manifest: dict[str, Any], copy: Copy | None) -> None:
        """Creates the object, or makes `copy` what it should be. Raises as `OwnedObjects.write`."""
        existing = copy.metadata if copy else None
        patch = _replacement(manifest, copy) if copy else None
        await self._owned[kind].write(manifest, existing, patch, PatchType.JSON)

    async def delete(self, kind: Kind, metadata: Metadata) -> None:
        """Deletes this incarnation. One that does not exist any more is fine."""
        await self._owned[kind].delete(metadata)


def _replacement(manifest: dict[str, Any], copy: Copy) -> list[dict[str, Any]]:
    """A JSON patch of this incarnation: whole maps are replaced, since a merge would keep keys that were removed.

    Servers refuse another type, and changes of what is immutable.
    """
    parts = {"data": manifest.get("data") or {}, "immutable": bool(manifest.get("immutable"))}
    parts |= {"binaryData": manifest.get("binaryData") or {}} if manifest["kind"] == "ConfigMap" else {}
    parts |= {"type": manifest["type"]} if manifest.get("type") else {}
    return [
        {"op": "test", "path": "/metadata/uid", "value": copy.metadata.uid},
        {"op": "add", "path": "/metadata/annotations", "value": manifest["metadata"]["annotations"]},
        *({"op": "add", "path": f"/{part}", "value": value} for part, value in parts.items()),
    ]
