"""Evicts pods for which the member has had no place for a while, if another node of the parent may take them.

    unschedulable in the member, or refused by it --(spec.unschedulableSeconds)--> may it be evicted, and would it help?
         yes: evicted, with a back-off for each controller      no: an Event says why it waits; asked again later

Owns the back-offs, which a new process starts without, and a copy of the parent's nodes that is used for 30 s.
"""

from __future__ import annotations

import asyncio
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import ForbiddenError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Node, OwnerReference, Pod
from vk_provider.kube.resources import NODES, Resource
from vk_provider.observable import Observable
from vk_provider.sync.pods.eviction import Evictions, OwnedPod
from vk_provider.translate.pods.disruption import Disruption
from vk_provider.translate.pods.unschedulable import (
    Job,
    Rounds,
    fits_elsewhere,
    names_claim,
    not_replaced,
)

JOBS: Final = Resource("batch", "v1", "jobs", "Job")
_LOOK_AGAIN: Final = 600.0  # seconds until a pod that waits is looked at again: nodes come, annotations change
_NODES_FOR: Final = 30.0  # seconds that a list of the parent's nodes is used


class Unschedulable:
    """See the module's text."""

    def __init__(self, node: str, parent: Client, evictions: Evictions, cluster: Observable[MemberCluster]) -> None:
        """`node`: the virtual node."""
        self._node, self._parent, self._evictions, self._cluster = node, parent, evictions, cluster
        self._rounds: dict[tuple[str, str, str], Rounds] = {}  # namespace, kind and name of a controller
        self._nodes: list[Node] = []
        self._listed_at = float("-inf")  # loop time

    async def handle(self, parent: Pod, reason: str, message: str, waited: float) -> float | None:
        """A pod has had no place in the member for `waited` seconds. Returns the seconds until the next look at it;
        None: it is evicted. Raises the errors of the parent's API server.
        """
        if (left := self._cluster.value.spec.waits_for_a_place - waited) > 0:
            return left
        owned = await self._evictions.living(parent)
        if owned is None:
            return None
        obstacle = await self._obstacle(parent, owned)
        if obstacle:
            self._evictions.report_waiting(parent, f"{reason}: {message}", obstacle)
            return _LOOK_AGAIN
        if delay := self._back_off(parent.metadata.namespace, owned.metadata.controller):
            return delay
        await self._evictions.carry_out(parent, Disruption(reason, message))
        return None

    async def _obstacle(self, parent: Pod, owned: OwnedPod) -> str:
        """Why the pod is not evicted; empty if it is."""
        if owned.metadata.annotations.get(wellknown.AT_MOST_ONCE) == "true":
            return f"it has the annotation {wellknown.AT_MOST_ONCE}"
        controller = owned.metadata.controller
        if obstacle := not_replaced(controller, await self._job(parent.metadata.namespace, controller)):
            return obstacle
        if names_claim(parent):
            return "it names a PersistentVolumeClaim"
        fits = fits_elsewhere(parent, self._node, await self._other_nodes())
        return "" if fits else "no other Ready node of the parent may take it"

    async def _job(self, namespace: str, controller: OwnerReference | None) -> Job | None:
        if controller is None or controller.kind != "Job":
            return None
        try:
            return await self._parent.get(JOBS, controller.name, namespace, type=Job)
        except (NotFoundError, ForbiddenError):
            return None

    async def _other_nodes(self) -> list[Node]:
        now = asyncio.get_running_loop().time()
        if now - self._listed_at > _NODES_FOR:
            self._nodes = await self._parent.list(NODES, type=Node)
            self._listed_at = now
        return self._nodes

    def _back_off(self, namespace: str, controller: OwnerReference | None) -> float:
        now = asyncio.get_running_loop().time()
        self._rounds = {key: rounds for key, rounds in self._rounds.items() if not rounds.is_over(now)}
        key = (namespace, controller.kind, controller.name) if controller else (namespace, "", "")
        return self._rounds.setdefault(key, Rounds()).delay(now)
