"""The NetworkPolicies that we made in a member: a list that is kept current, and how they are written."""

from __future__ import annotations

from typing import Any

from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Informer
from vk_provider.kube.resources import NETWORK_POLICIES
from vk_provider.sync.dependents.owned import OwnedObjects
from vk_provider.translate.dependents.network_policies import NetworkPolicy, policy_patch
from vk_provider.translate.names import Names


class MemberPolicies:
    """See the module's text. Keys are those of the parent's policies. `cache` is run by its owner."""

    def __init__(self, member: Client, names: Names, cache: Informer[NetworkPolicy]) -> None:
        self._names, self._cache = names, cache
        self._owned = OwnedObjects(member, names, NETWORK_POLICIES, NetworkPolicy, cache)
        self._deleted: set[str] = set()  # UIDs that the cache still shows

    def watch(self) -> None:
        """Follows the deletions that the cache shows. Called once."""
        self._cache.on_change(self._changed)

    def keys(self, namespace: str = "") -> set[str]:
        """Of all, or of those in one namespace of the parent."""
        mapped = self._names.namespace(namespace) if namespace else ""
        found = [each.metadata for each in self._cache.items.values()]
        return {self._names.parent_key(each) for each in found if mapped in ("", each.namespace)}

    def find(self, key: str) -> NetworkPolicy | None:
        """The policy in the member, if there is one."""
        namespace, name = key.split("/", 1)
        found = self._cache.items.get(f"{self._names.namespace(namespace)}/{self._names.copy(name)}")
        return None if found is None or found.metadata.uid in self._deleted else found

    async def put(self, key: str, manifest: dict[str, Any]) -> None:
        """Makes the policy as it should be. Raises as `OwnedObjects.write`."""
        existing = self.find(key)
        patch = policy_patch(manifest, existing) if existing else None
        if existing is None or patch:
            await self._owned.write(manifest, existing.metadata if existing else None, patch, PatchType.JSON)

    async def delete(self, key: str) -> None:
        """Deletes it, if there is one."""
        if existing := self.find(key):
            await self._owned.delete(existing.metadata)
            if self.find(key):  # the watch has not shown it yet
                self._deleted.add(existing.metadata.uid)

    def _changed(self, before: NetworkPolicy | None, after: NetworkPolicy | None) -> None:
        if before is not None and after is None:
            self._deleted.discard(before.metadata.uid)
