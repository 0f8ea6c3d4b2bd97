"""Namespaces of the member: created when a pod needs one, deleted after the parent's when nothing is left in them.

Knows all namespaces of the member, because each member pod names its namespace as its owner, by UID. Only a namespace
that carries our labels is ever deleted, and only if it holds no pod, claim, ConfigMap, Secret or Service of another
client: with the namespace, those would go too. Other kinds are not looked at.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import ApiError, ConflictError, ForbiddenError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, PartialObject
from vk_provider.kube.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
)
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.translate.names import ROOT_CA, Names
from vk_provider.translate.state.rights import Feature

log = logging.getLogger(__name__)

_LOOK_AGAIN: Final = 5.0  # seconds, while something of ours is still in a namespace whose parent is gone
_KEPT: Final = 300.0  # seconds, at most, until a namespace that holds something of others is looked at again
_REPORT_AT: Final = 3  # looks: what belonged to our pods (claims of ephemeral volumes) goes a moment after them
_LOOKED_AT: Final = (PERSISTENT_VOLUME_CLAIMS, PODS, SECRETS, CONFIG_MAPS, SERVICES)
_MADE_BY_KUBERNETES: Final = frozenset({(CONFIG_MAPS, ROOT_CA)})  # in every namespace


class NamespaceLoop:
    """See the module's text. Keys of its queue are namespaces of the parent."""

    def __init__(
        self,
        names: Names,
        parent: Client,
        member: Client,
        parent_namespaces: Informer[PartialObject],
        caches: DependentCaches,
        report_kept: Callable[[str], None],
    ) -> None:
        """`report_kept` tells administrators why a namespace stays."""
        self._names, self._parent, self._member = names, parent, member
        self._parent_namespaces, self._member_namespaces = parent_namespaces, caches.namespaces
        self._caches, self._report_kept = caches, report_kept
        self._kept: dict[str, tuple[str, int]] = {}  # namespace of the member -> why it stays, and at how many looks
        self.queue: WorkQueue[str] = WorkQueue("namespaces", self._reconcile, workers=2)

    async def run(self) -> None:
        """Works until cancelled. Both informers must be synced; that of the parent outlives this loop."""
        for name in self._ours():
            self.queue.add(name)
        with self._parent_namespaces.subscribed(self._parent_changed):
            await self.queue.run()

    def _parent_changed(self, before: PartialObject | None, after: PartialObject | None) -> None:
        if before is not None and after is None:
            self.queue.add(before.metadata.name)

    async def delete_unused(self) -> None:
        """Looks once at every namespace of ours, and deletes those whose parent's is gone and that hold nothing of
        others. One whose deletion is refused stays. Raises UnreachableError.
        """
        for name in self._ours():
            try:
                await self._reconcile(name)
            except ApiError as error:
                log.warning("namespace stays in member", extra={"namespace": name, "error": str(error)})

    def _ours(self) -> list[str]:
        """The parent's names of our namespaces in the member."""
        found = self._member_namespaces.items.values()
        return [_parent_name(each.metadata) for each in found if self._names.owns(each.metadata.labels)]

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
        if cause := await self._others_in(ours.metadata.name):
            return self._keep(ours.metadata.name, cause)
        log.info("namespace removed from member", extra={"namespace": ours.metadata.name, "node": self._names.node})
        self._kept.pop(ours.metadata.name, None)
        try:
            await self._member.delete(NAMESPACES, ours.metadata.name, uid=ours.metadata.uid)
        except (NotFoundError, ConflictError):
            pass
        return None

    async def _others_in(self, namespace: str) -> str:
        """What another client keeps in a namespace of the member; empty if there is nothing."""
        for resource in _LOOKED_AT:
            try:
                async for page in self._member.pages(resource, namespace, type=PartialObject):
                    for found in page.items:
                        theirs = not self._names.owns(found.metadata.labels)
                        if theirs and (resource, found.metadata.name) not in _MADE_BY_KUBERNETES:
                            return f"it holds {resource.kind} {found.metadata.name}, which the provider did not create"
            except ForbiddenError:
                return (
                    f"the provider may not list its {resource.plural} and find out whether it is empty "
                    "(grant manifests/member/rbac.yaml in the member)"
                )
        return ""

    def _keep(self, namespace: str, cause: str) -> float:
        """Says once why the namespace stays. Returns the seconds until it is looked at again."""
        before, looks = self._kept.get(namespace, ("", 0))
        looks = looks + 1 if cause == before else 1
        self._kept[namespace] = cause, looks
        if looks == _REPORT_AT:
            log.warning("namespace kept in member", extra={"namespace": namespace, "cause": cause})
            self._report_kept(
                f"namespace {namespace} stays in the member, although the parent's is deleted: {cause}; "
                "it is deleted once it is empty, or delete it yourself"
            )
        return min(_KEPT, _LOOK_AGAIN * 2.0 ** min(looks, 10))


def _parent_name(metadata: Metadata) -> str:
    return metadata.annotations.get(wellknown.PARENT_NAME, metadata.name)
