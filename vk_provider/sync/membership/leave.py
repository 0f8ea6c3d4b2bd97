"""The end of a membership, when a MemberCluster is deleted.

    taint NoExecute (pods go as on any node, PVs and controllers follow) -> delete what tolerates everything
      -> Node deleted -> nothing of ours in the member -> kubeconfig Secret deleted -> finalizer taken off

`abandon` is the way out when the member or the provider is not there to do this: the parent is cleaned up, and the
caller is told what may be left in the member. Pods that must run at most once are not deleted behind a member's back:
that takes a fence.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.errors import ConfigError, ConflictError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node, Object, PartialObject, Pod, fields
from vk_provider.kube.resources import NODES, PODS, SECRETS
from vk_provider.translate.pods.decide import TERMINAL

_LEAVING: Final = {"key": wellknown.LEAVING_TAINT, "effect": "NoExecute"}
_EVICTION: Final = 5.0  # seconds for the parent's taint eviction before the rest is deleted from here
_LOOK: Final = 1.0  # seconds between looks at what is left


@dataclass(frozen=True)
class Left:
    """What was left behind: pods that may still run in the member, and a sentence about it."""

    pods: int
    message: str


class _Owner(msgspec.Struct):
    kind: str = ""
    controller: bool = False


class _OwnedMetadata(Metadata, rename="camel"):
    owner_references: list[_Owner] = msgspec.field(default_factory=list)


class _Status(msgspec.Struct):
    phase: str = ""


class _Owned(msgspec.Struct):
    metadata: _OwnedMetadata
    status: _Status = msgspec.field(default_factory=_Status)

    @property
    def at_most_once(self) -> bool:
        """Whether two of it at the same time would do harm: of a StatefulSet, or it says so. One that ended cannot."""
        unique = any(owner.controller and owner.kind == "StatefulSet" for owner in self.metadata.owner_references)
        says_so = self.metadata.annotations.get(wellknown.AT_MOST_ONCE) == "true"
        return (unique or says_so) and self.status.phase not in TERMINAL


async def drain(
    parent: Client,
    cluster: MemberCluster,
    pods: Informer[Pod],
    in_member: Callable[[], int],
    say: Callable[[str], Awaitable[None]],
) -> None:
    """Moves every pod away and removes the Node; returns when nothing of ours is left in the member.

    `in_member` counts our objects there; `say` is told of progress.
    """
    loop = asyncio.get_running_loop()
    started, removed = loop.time(), False
    await _taint(parent, cluster)
    while pods.items or in_member():
        await say(f"{len(pods.items)} pods are leaving, {in_member()} objects are left in the member")
        if loop.time() - started > _EVICTION:
            # DaemonSets that tolerate everything would come back for as long as there is a Node to come back to.
            # But without a Node, Kubernetes removes pods by force, whatever still runs of them.
            if not removed and not await _unique(parent, cluster):
                await _remove_node(parent, cluster)
                removed = True
            for pod in list(pods.items.values()):
                if pod.metadata.deletion_timestamp is None:
                    await _delete_pod(parent, pod.metadata, grace_seconds=None)
        await asyncio.sleep(_LOOK)
    await _remove_node(parent, cluster)


async def finish(parent: Client, cluster: MemberCluster) -> None:
    """Deletes the kubeconfig Secret where `join` made it, and lets the MemberCluster go."""
    reference = cluster.spec.kubeconfig_secret_ref
    try:
        secret = await parent.get(SECRETS, reference.name, reference.namespace, type=PartialObject)
        if secret.metadata.labels.get(wellknown.CLUSTER_LABEL) == cluster.metadata.name:
            await parent.delete(SECRETS, reference.name, reference.namespace, uid=secret.metadata.uid)
    except (NotFoundError, ConflictError):
        pass
    await set_finalizer(parent, cluster.metadata, present=False)


async def set_finalizer(parent: Client, metadata: Metadata, *, present: bool) -> None:
    """Puts our finalizer on a MemberCluster, or takes it off."""
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


async def abandon(parent: Client, cluster: MemberCluster) -> Left:
    """Cleans up the parent without asking the member: Node, pods, Secret, finalizer.

    Raises ConfigError (FenceNeeded) where a pod must run at most once and nobody has stated that the member is down:
    deleting it, or its Node, would let another one start beside it.
    """
    name = cluster.metadata.name
    unique = await _unique(parent, cluster)
    if unique and wellknown.FENCED not in cluster.metadata.annotations:
        raise ConfigError(
            f"{len(unique)} pods that must run at most once may still run in the member, {unique[0]} for one",
            reason=wellknown.FENCE_NEEDED,
            remedy=f"if it is down for certain: vk-provider fence {name} --confirmed-down",
        )
    await _remove_node(parent, cluster)
    pods = await parent.list(PODS, type=PartialObject, query=_of(cluster))
    for pod in pods:
        await _delete_pod(parent, pod.metadata, grace_seconds=0)
    await finish(parent, cluster)
    if not pods:
        return Left(0, f"no pod was bound to virtual node {cluster.node_name}")
    return Left(
        len(pods),
        f"{len(pods)} pods may still run in the member; there, objects with label "
        f"{wellknown.NODE_LABEL}={cluster.node_name} are what was left behind",
    )


def _of(cluster: MemberCluster) -> dict[str, str]:
    return {"fieldSelector": f"spec.nodeName={cluster.node_name}"}


async def _unique(parent: Client, cluster: MemberCluster) -> list[str]:
    """Keys of the pods that must run at most once and have not ended."""
    return [pod.metadata.key for pod in await parent.list(PODS, type=_Owned, query=_of(cluster)) if pod.at_most_once]


async def _taint(parent: Client, cluster: MemberCluster) -> None:
    for _ in range(10):
        try:
            node = await parent.get(NODES, cluster.node_name, type=Node)
            if node.metadata.labels.get(wellknown.CLUSTER_LABEL) != cluster.metadata.name:
                return
            taints = fields(node.spec).get("taints") or []
            if any(taint["key"] == wellknown.LEAVING_TAINT for taint in taints):
                return
            body = {
                "metadata": {"uid": node.metadata.uid, "resourceVersion": node.metadata.resource_version},
                "spec": {"unschedulable": True, "taints": [*taints, _LEAVING]},
            }
            await parent.patch(NODES, cluster.node_name, body, type=PartialObject)
            return
        except NotFoundError:
            return
        except ConflictError:
            continue  # somebody wrote the Node in between: read it again


async def _remove_node(parent: Client, cluster: MemberCluster) -> None:
    """Deletes the Node that stands for this member, and no other. Its Lease goes with it."""
    try:
        node = await parent.get(NODES, cluster.node_name, type=PartialObject)
        if node.metadata.labels.get(wellknown.CLUSTER_LABEL) == cluster.metadata.name:
            await parent.delete(NODES, cluster.node_name, uid=node.metadata.uid)
    except (NotFoundError, ConflictError):
        pass


async def _delete_pod(parent: Client, pod: Metadata, *, grace_seconds: int | None) -> None:
    try:
        await parent.delete(PODS, pod.name, pod.namespace, uid=pod.uid, grace_seconds=grace_seconds)
    except (NotFoundError, ConflictError):
        pass
