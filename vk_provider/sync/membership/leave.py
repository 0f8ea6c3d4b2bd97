"""The end of a membership, when a MemberCluster is deleted.

taint NoExecute and cordon (see nodes/labels_and_taints; pods are evicted as on any node) -> delete what tolerates it
  -> nothing of ours in the member -> namespaces that the parent no longer has are deleted there, too
  -> the loops of the member end -> Nodes deleted -> kubeconfig Secret deleted -> finalizer removed

A Node stays, tainted, until the last of its pods is gone: without it, Kubernetes would remove pods by force that still
run; and a Node without the taint would attract the replacements. It is deleted once, when nothing registers it again.
Pods that controllers bind to it meanwhile, as DaemonSets that tolerate everything do, are never created in the member.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.errors import ConflictError, NotFoundError, RefusedError, UnreachableError, counted
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.objects import TERMINAL, Metadata, Object, OwnedMetadata, PartialObject, Pod
from vk_provider.kube.resources import NODES, PODS, SECRETS
from vk_provider.sync.membership.report import Report
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState

log = logging.getLogger(__name__)

T = TypeVar("T")

_EVICTION: Final = 5.0  # seconds for the parent's taint eviction before the rest is deleted from here
_LOOK: Final = 1.0  # seconds between looks at what is left
_RETRY_CAP: Final = 10.0  # seconds between attempts while the parent does not answer
_NAMED: Final = 3  # pods that a message names


class _Status(msgspec.Struct):
    phase: str = ""


class _Owned(msgspec.Struct):
    metadata: OwnedMetadata
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def at_most_once(self) -> bool:
        """Whether two of it at the same time would do harm: it belongs to a StatefulSet, or is annotated. One that has
        ended does none.
        """
        controller = self.metadata.controller
        unique = controller is not None and controller.kind == "StatefulSet"
        annotated = self.metadata.annotations.get(wellknown.AT_MOST_ONCE) == "true"
        return (unique or annotated) and self.status.phase not in TERMINAL


class Caches(Protocol):
    """Interface: what is known of our objects on both sides."""

    @property
    def nodes(self) -> Sequence[PodCaches]: ...

    def count(self) -> int: ...


async def drain(
    parent: Client,
    cluster: MemberCluster,
    caches: Caches,
    state: MemberState,
    report: Report,
    delete_namespaces: Callable[[], Awaitable[None]],
) -> None:
    """Moves every pod away; returns when nothing of ours is left in the member. The Nodes must be tainted.

    `delete_namespaces` deletes those in the member that the parent no longer has, once they are empty: their loop ends
    now. Raises UnreachableError if the member is lost meanwhile, and RefusedError if it refuses the provider.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    # What arrives later tolerates the taint, would come back as often as it is deleted, and is not created.
    present = {pod.metadata.uid for pod in _bound(caches)}
    while (leaving := [pod for pod in _bound(caches) if pod.metadata.uid in present]) or caches.count():
        if lost := state.lost_reason:
            raise UnreachableError(f"the member behind the node does not answer: {lost}")
        if refused := state.refused_reason:
            raise RefusedError(refused)
        await report.set_ready(False, "Leaving", _progress([pod.metadata.key for pod in leaving], caches.count()))
        if loop.time() - started > _EVICTION:
            for pod in leaving:
                if pod.metadata.deletion_timestamp is None:
                    await delete_pod(parent, pod.metadata, grace_seconds=None)
        await asyncio.sleep(_LOOK)
    await delete_namespaces()


def _bound(caches: Caches) -> list[Pod]:
    """The parent pods of all virtual nodes."""
    return [pod for node in caches.nodes for pod in node.parent.items.values()]


def _progress(leaving: list[str], objects: int) -> str:
    named = ", ".join(sorted(leaving)[:_NAMED]) + (", ..." if len(leaving) > _NAMED else "")
    pods = f"{counted(len(leaving), 'pod')} still to end" + (f" ({named})" if leaving else "")
    return f"{pods}; {counted(objects, 'object')} left in the member"


async def finish(parent: Client, cluster: MemberCluster) -> None:
    """Deletes the Nodes, and the kubeconfig Secret if `join` made it, and releases the MemberCluster.

    Nothing of ours may be left in the member, and no loop that registers a Node may run. A parent that does not answer
    is waited for: nothing here needs the member any more.
    """
    backoff = Backoff(base=1.0, cap=_RETRY_CAP)
    while True:
        try:
            await remove_nodes(parent, cluster)
            for pod in await pods_of(parent, cluster, PartialObject):
                await delete_pod(parent, pod.metadata, grace_seconds=0)  # it never was in the member
            await release(parent, cluster)
            log.info("member has left", extra={"member": cluster.metadata.name})
            return
        except UnreachableError as error:
            pause = backoff.failed()
            log.log(backoff.level, "member not released", extra={"member": cluster.metadata.name, "error": str(error)})
            await asyncio.sleep(pause)


async def release(parent: Client, cluster: MemberCluster) -> None:
    """Deletes the kubeconfig Secret if `join` made it, and removes the finalizer of the MemberCluster."""
    reference = cluster.spec.kubeconfig_secret_ref
    try:
        secret = await parent.get(SECRETS, reference.name, reference.namespace, type=PartialObject)
        if secret.metadata.labels.get(wellknown.CLUSTER_LABEL) == cluster.metadata.name:
            await parent.delete(SECRETS, reference.name, reference.namespace, uid=secret.metadata.uid)
    except (NotFoundError, ConflictError):
        pass
    await set_finalizer(parent, cluster.metadata, present=False)


async def set_finalizer(parent: Client, metadata: Metadata, *, present: bool) -> None:
    """Adds our finalizer to a MemberCluster, or removes it."""
    others = [name for name in metadata.finalizers if name != wellknown.FINALIZER]
    wanted = [*others, wellknown.FINALIZER] if present else others
    if wanted == metadata.finalizers:
        return
    body = {"metadata": {"uid": metadata.uid, "resourceVersion": metadata.resource_version, "finalizers": wanted}}
    try:
        await parent.patch(MEMBER_CLUSTERS, metadata.name, body, type=PartialObject)
    except NotFoundError:
        pass
    except ConflictError:
        fresh = await parent.get(MEMBER_CLUSTERS, metadata.name, type=Object)
        if fresh.metadata.uid == metadata.uid:
            await set_finalizer(parent, fresh.metadata, present=present)


async def pods_of(parent: Client, cluster: MemberCluster, type: type[T]) -> list[T]:
    """All pods that are bound to the virtual nodes of a member."""
    found: list[T] = []
    for node in cluster.node_names:
        found += await parent.list(PODS, type=type, query={"fieldSelector": f"spec.nodeName={node}"})
    return found


async def at_most_once_pods(parent: Client, cluster: MemberCluster) -> list[str]:
    """Keys of the pods that must run at most once and have not ended."""
    return [pod.metadata.key for pod in await pods_of(parent, cluster, _Owned) if pod.at_most_once]


async def remove_nodes(parent: Client, cluster: MemberCluster) -> None:
    """Deletes the Nodes that stand for this member, and no others. Their Leases are deleted with them."""
    for name in cluster.node_names:
        try:
            node = await parent.get(NODES, name, type=PartialObject)
            if node.metadata.labels.get(wellknown.CLUSTER_LABEL) == cluster.metadata.name:
                await parent.delete(NODES, name, uid=node.metadata.uid)
        except (NotFoundError, ConflictError):
            continue


async def delete_pod(parent: Client, pod: Metadata, *, grace_seconds: int | None) -> None:
    """Deletes this incarnation. One that does not exist any more is fine."""
    try:
        await parent.delete(PODS, pod.name, pod.namespace, uid=pod.uid, grace_seconds=grace_seconds)
    except (NotFoundError, ConflictError):
        pass
