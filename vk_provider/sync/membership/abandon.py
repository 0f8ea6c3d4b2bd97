"""The way out for a MemberCluster that is deleted and cannot be served: only the parent is cleaned up.

The caller learns what may be left in the member. Pods that must run at most once are not deleted without the member's
knowledge: that takes a fence.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import ConfigError, RefusedError, VkError, counted
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import NAMESPACES
from vk_provider.sync.membership.leave import at_most_once_pods, delete_pod, pods_of, release, remove_nodes

log = logging.getLogger(__name__)

_PATIENCE: Final = 30.0  # seconds that a member which is to leave may be unreachable, or refuse the provider
_NAMED: Final = 5  # pods that a message names


@dataclass(frozen=True)
class Left:
    """What was left behind: the number of pods that may still run in the member, and a sentence about it."""

    pods: int
    message: str


async def abandon(parent: Client, cluster: MemberCluster) -> Left:
    """Cleans up the parent without asking the member: Nodes, pods, Secret, finalizer.

    Raises ConfigError (FenceNeeded) if a pod must run at most once and no administrator has declared that the member is
    down: to delete the pod, or its Node, would let another one start while it still runs.
    """
    name = cluster.metadata.name
    unique = await at_most_once_pods(parent, cluster)
    if unique and not cluster.fenced:
        raise ConfigError(
            f"{counted(len(unique), 'pod')} that must run at most once may still run in the member: {unique[0]}"
            + (", ..." if len(unique) > 1 else ""),
            reason=wellknown.FENCE_NEEDED,
            remedy=f"if it is down for certain: vk-provider fence {name} --confirmed-down",
        )
    bound = [pod.metadata.key for pod in await pods_of(parent, cluster, PartialObject)]
    await remove_nodes(parent, cluster)
    for pod in await pods_of(parent, cluster, PartialObject):
        await delete_pod(parent, pod.metadata, grace_seconds=0)
    left = await left_behind(parent, cluster, bound)
    await release(parent, cluster)
    return left


async def left_behind(parent: Client, cluster: MemberCluster, bound: Iterable[str]) -> Left:
    """What may still be in a member that was released without being asked.

    `bound`: keys of the pods that were on its nodes until then. A fence may have removed others from the parent before.
    """
    parent_uid = (await parent.get(NAMESPACES, "kube-system", type=PartialObject)).metadata.uid
    fenced = cluster.fenced_pods
    names = sorted({*bound, *fenced.names})
    total = len(names) + fenced.total - len(fenced.names)
    nodes = ", ".join(cluster.node_names)
    if not total:
        return Left(0, f"no pods were on virtual node {nodes}")
    more = f" and {total - _NAMED} more" if total > _NAMED else ""
    selectors = [f"{wellknown.PARENT_LABEL}={parent_uid},{wellknown.NODE_LABEL}={node}" for node in cluster.node_names]
    return Left(
        total,
        f"{counted(total, 'pod')} may still run in the member: {', '.join(names[:_NAMED])}{more}; to find what was left"
        f" behind, run there: kubectl get pods,configmaps,secrets,services -A -l {' or '.join(selectors)}",
    )


class Abandonment:
    """Decides, for one MemberCluster, when attempts to serve it are given up for good."""

    def __init__(self, parent: Client) -> None:
        self._parent = parent
        self._failing_since: float | None = None  # loop time
        self.refusal: ConfigError | None = None  # why it cannot be released

    def served(self) -> None:
        """The member can be served: the patience starts again."""
        self._failing_since = None

    async def after_failure(self, cluster: MemberCluster, error: BaseException, started: float, now: float) -> bool:
        """Whether the membership has ended now. `started`: when the attempt that failed began; both in loop time."""
        if self._failing_since is None:
            self._failing_since = started
        patience = _PATIENCE if _may_pass(error) else 0.0
        if cluster.metadata.deletion_timestamp is None or now - self._failing_since < patience:
            return False
        name = cluster.metadata.name
        try:
            left = await abandon(self._parent, cluster)
        except ConfigError as refusal:
            self.refusal = refusal
            return False
        except VkError as failure:
            log.warning("member not released", extra={"member": name, "error": str(failure)})
            return False
        log.warning("member released", extra={"member": name, "left": left.message})
        return True


def _may_pass(error: BaseException) -> bool:
    """Whether the member may be served later without a change of what is declared: any answer of either API server, and
    any defect of the program, may be over with the next attempt."""
    return isinstance(error, RefusedError) or not isinstance(error, ConfigError)
