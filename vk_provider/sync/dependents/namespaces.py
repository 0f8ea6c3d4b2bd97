"""Namespaces of the member: created when a pod needs one, deleted after the parent's when nothing of ours is left.

Knows all namespaces of the member, because each member pod names its namespace as its owner, by UID. Only a namespace
that carries our labels is ever deleted.
"""

from __future__ import annotations

import logging
from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import ConflictError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, PartialObject
from vk_provider.kube.resources import NAMESPACES
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.translate.names import Names
from vk_provider.translate.state.rights import Feature

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 5.0  # seconds, while something of ours is still in a namespace whose parent is gone


class NamespaceLoop:
    """See the module's text. Keys of its queue are namespaces of the parent."""

    def __init__(
        self,
        names: Names,
        parent: Client,
        member: Client,
        parent_namespaces: Informer[PartialObject],
        caches: DependentCaches,
    ) -> None:
        self._names, self._parent, self._member = names, parent, member
        self._parent_namespaces, self._member_namespaces = parent_namespaces, caches.namespaces
        self._caches = caches
        self.queue: WorkQueue[str] = WorkQueue("namespaces", self._reconcile, workers=2)

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced; that of the parent outlives this loop."""
        for namespace in self._member_namespaces.items.values():
            if self._names.owns(namespace.metadata.labels):
                self.queue.add(_parent_name(namespace.metadata))
        with self._parent_namespaces.subscribed(self._parent_changed):
            await self.queue.run()

    def _parent_changed(self, before: PartialObject | None, after: PartialObject | None) -> None:
        if before is not None and after is None:
            self.queue.add(before.metadata.name)

    async def ensure(self, parent_namespace: str) -> str:
        """The UID of the member's namespace for this one of the parent; creates and labels it if it is missing."""
        name = self._names.namespace(parent_namespace)
        if found := self._member_namespaces.items.get(name):
            return found.metadata.uid
        body = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": self._names.labels,
                "annotations": {wellknown.PARENT_NAME: parent_namespace},
            },
        }
        try:
            namespace = await self._member.create(NAMESPACES, body, type=PartialObject)
        except ConflictError:
            namespace = await self._member.get(NAMESPACES, name, type=PartialObject)
        self._member_namespaces.observe(namespace)
        return namespace.metadata.uid

    async def _reconcile(self, parent_namespace: str) -> float | None:
        ours = self._member_namespaces.items.get(self._names.namespace(parent_namespace))
        if ours is None or not self._names.owns(ours.metadata.labels) or ours.metadata.deletion_timestamp is not None:
            return None
        if parent_namespace in self._parent_namespaces.items or not self._caches.rights.has(Feature.CLEANUP):
            return None
        if self._caches.in_use(ours.metadata.name):
            return _LOOK_AGAIN
        try:
            await self._parent.get(NAMESPACES, parent_namespace, type=PartialObject)
            return _LOOK_AGAIN  # the cache is behind
        except NotFoundError:
            pass
        log.info("namespace removed from member", extra={"namespace": ours.metadata.name, "node": self._names.node})
        try:
            await self._member.delete(NAMESPACES, ours.metadata.name, uid=ours.metadata.uid)
        except (NotFoundError, ConflictError):
            pass
        return None


def _parent_name(metadata: Metadata) -> str:
    return metadata.annotations.get(wellknown.PARENT_NAME, metadata.name)
