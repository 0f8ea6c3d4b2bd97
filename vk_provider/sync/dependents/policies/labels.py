"""Labels on the member's namespaces by which NetworkPolicies select them.

Level-triggered by namespace: each namespace that we created has a label of ours for every key that a NetworkPolicy in
use selects, with the value of the parent's namespace, and no other such label. Owns these labels; `select` says which
keys are in use.
"""

from __future__ import annotations

from typing import Final

from vk_provider.errors import ConflictError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import NAMESPACES
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.translate.dependents.namespace_labels import labels_patch, member_labels
from vk_provider.translate.names import Names

_WORKERS: Final = 4


class PolicyLabels:
    """See the module's text. Keys of its queue are namespaces of the parent."""

    def __init__(
        self, names: Names, member: Client, parents: Informer[PartialObject], members: Informer[PartialObject]
    ) -> None:
        """`parents` and `members`: the namespaces of the parent, and those of the member."""
        self._names, self._member, self._parents, self._members = names, member, parents, members
        self._keys: frozenset[str] = frozenset()
        self.queue: WorkQueue[str] = WorkQueue("namespace labels", self._reconcile, workers=_WORKERS)

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced; that of the parent outlives this loop."""
        self._members.on_change(self._member_changed)
        with self._parents.subscribed(self._parent_changed):
            await self.queue.run()

    def select(self, keys: frozenset[str]) -> None:
        """Sets the label keys of the parent's namespaces that are in use."""
        if keys != self._keys:
            self._keys = keys
            self.look_again()

    def look_again(self) -> None:
        """Looks at every namespace of ours again."""
        for namespace in self._members.items.values():
            self._member_changed(None, namespace)

    def _member_changed(self, before: PartialObject | None, after: PartialObject | None) -> None:
        if after is not None and self._names.owns(after.metadata.labels):
            self.queue.add(self._names.parent_key(after.metadata).rpartition("/")[2])

    def _parent_changed(self, before: PartialObject | None, after: PartialObject | None) -> None:
        found = after or before
        if found and (before is None or after is None or before.metadata.labels != after.metadata.labels):
            self.queue.add(found.metadata.name)

    async def _reconcile(self, namespace: str) -> None:
        ours, parent = self._members.items.get(self._names.namespace(namespace)), self._parents.items.get(namespace)
        if ours is None or not self._names.owns(ours.metadata.labels) or ours.metadata.deletion_timestamp is not None:
            return
        wanted = member_labels(parent.metadata.labels, self._keys) if parent is not None else {}
        if patch := labels_patch(ours.metadata, wanted):
            try:
                found = await self._member.patch(NAMESPACES, ours.metadata.name, patch, type=PartialObject)
                self._members.observe(found)
            except (NotFoundError, ConflictError):
                pass  # deleted, and perhaps created again: an event follows
