"""The end of a membership, when a MemberCluster is deleted.

taint NoExecute (pods are evicted as on any node, PVs and controllers follow) -> delete what tolerates everything
  -> Nodes deleted -> nothing of ours in the member -> kubeconfig Secret deleted -> finalizer removed
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol, TypeVar

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.errors import ConflictError, NotFoundError, UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import TERMINAL, Metadata, Node, Object, OwnedMetadata, PartialObject
from vk_provider.kube.resources import NODES, PODS, SECRETS
from vk_provider.sync.membership.report import Report
from vk_provider.sync.node_edit import NodeEdit, Taint, edit_node
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState

T = TypeVar("T")

_LEAVING: Final[Taint] = {"key": wellknown.LEAVING_TAINT, "effect": "NoExecute"}
_EVICTION: Final = 5.0  # seconds for the parent's taint eviction before the rest is deleted from here
_LOOK: Final = 1.0  # seconds between looks at what is left


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
) -> None:
    """Moves every pod away and removes the Nodes; returns when nothing of ours is left in the member.

    Raises UnreachableError if the member is lost meanwhile.
    """
    loop = asyncio.get_running_loop()
    started, removed = loop.time(), False
    await _taint(parent, cluster)
    while (leaving := [pod for node in caches.nodes for pod in node.parent.items.values()]) or caches.count():
        if lost := state.lost_reason:
            raise UnreachableError(f"the member behind the node does not answer: {lost}")
        message = f"{len(leaving)} pods are leaving, {caches.count()} objects are left in the member"
        await report.set_ready(False, "Leaving", message)
        if loop.time() - started > _EVICTION:
            # DaemonSets that tolerate everything would come back for as long as there is a Node to come back to.
            # But without a Node, Kubernetes removes pods by force, even if they still run.
            if not removed and not await at_most_once_pods(parent, cluster):
                await remove_nodes(parent, cluster)
                removed = True
            for pod in leaving:
                if pod.metadata.deletion_timestamp is None:
                    await delete_pod(parent, pod.metadata, grace_seconds=None)
        await asyncio.sleep(_LOOK)
    await remove_nodes(parent, cluster)


async def finish(parent: Client, cluster: MemberCluster) -> None:
    """Deletes the kubeconfig Secret if `join` made it, and releases the MemberCluster."""
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


async def _taint(parent: Client, cluster: MemberCluster) -> None:
    """Cordons the Nodes that stand for this member, and has Kubernetes evict their pods."""

    def leaving(node: Node, taints: list[Taint]) -> NodeEdit | None:
        ours = node.metadata.labels.get(wellknown.CLUSTER_LABEL) == cluster.metadata.name
        if not ours or any(taint["key"] == wellknown.LEAVING_TAINT for taint in taints):
            return None
        return NodeEdit([*taints, _LEAVING], spec={"unschedulable": True})

    for name in cluster.node_names:
        try:
            await edit_node(parent, name, leaving)
        except NotFoundError:
            continue


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
