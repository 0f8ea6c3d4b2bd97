"""Everything that exists once per virtual node: its Node and Lease, its pods, and its kubelet API."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial

from vk_provider.api.membercluster import MemberCluster
from vk_provider.api.wellknown import OUT_OF_SYNC
from vk_provider.caches import Caches
from vk_provider.config import Settings
from vk_provider.kube.objects import Metadata
from vk_provider.kube.resources import NODES
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.metrics import MemberMetrics
from vk_provider.kubelet.server import KubeletServer
from vk_provider.observable import Observable
from vk_provider.parent import Parent
from vk_provider.sync.dependents.dependents import Dependents
from vk_provider.sync.membership.connection import Connection
from vk_provider.sync.membership.report import Report
from vk_provider.sync.nodes.hold import HoldLoop
from vk_provider.sync.nodes.lease import LeaseLoop
from vk_provider.sync.nodes.status import NodeStatusLoop
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.loop import PodLoop
from vk_provider.sync.pods.orphans import OrphanBrake
from vk_provider.sync.pods.returning import ReturnCheck
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.state.rights import Rights


@dataclass(frozen=True)
class MemberParts:
    """What the virtual nodes of one member share."""

    cluster: Observable[MemberCluster]
    connection: Connection
    parent: Parent
    settings: Settings
    report: Report
    state: MemberState
    caches: Caches
    dependents: Dependents

    @property
    def rights(self) -> Rights:
        """What the credential may do in the member. A change of it connects the member again."""
        return self.connection.rights


class VirtualNode:
    """One virtual node. The caches must be synced when it is built."""

    def __init__(self, pods: PodCaches, target: Target, shared: MemberParts) -> None:
        """`target` is that of this virtual node."""
        name, cluster, state, caches = pods.names.node, shared.cluster, shared.state, shared.caches
        parent, recorder, address = shared.parent.client, shared.parent.recorder, shared.parent.kubelet_address
        self._name, self._recorder = name, recorder
        member, nodes_ready = shared.connection.client, Observable(NodesReady())
        self._hold = HoldLoop(name, parent, pods.parent, state, nodes_ready, recorder)
        self.status = NodeStatusLoop(
            address,
            shared.connection.version,
            cluster,
            parent.urgent,
            shared.parent.virtual_nodes,
            caches.nodes,
            (caches.others, caches.earlier),
            pods,
            state=state,
            nodes_ready=nodes_ready,
            hold=self._hold,
            recorder=recorder,
        )
        self._lease = LeaseLoop(name, parent.urgent, shared.parent.freeze, self.status)
        self._brake = OrphanBrake(cluster, parent, pods, state, shared.report)
        self._pods = PodLoop(
            target,
            parent,
            member,
            pods,
            state=state,
            resources=self.status.labels_and_taints,
            dependents=shared.dependents,
            brake=self._brake,
            recorder=recorder,
            workers=shared.settings.workers,
            cluster=cluster,
            nodes=caches.nodes,
        )
        self._return_check = ReturnCheck(
            parent, member, pods, self._brake, self._pods.queue.failures, partial(self.status.warn, OUT_OF_SYNC)
        )
        backend = Backend(pods.names, member, pods.parent, pods.member, state)
        metrics = MemberMetrics(member, pods.names, caches.nodes, pods.parent, pods.member)
        self._kubelet = KubeletServer(
            parent,
            backend,
            metrics,
            replace(shared.settings.kubelet, address=address),
            member=cluster.value.metadata.name,
            bounds=shared.parent.kubelet_bounds,
            published=self.status.serve_kubelet,
            report=self._report,
            watches=shared.parent.object_watches,
        )

    def _report(self, type: str, reason: str, message: str) -> None:
        about = Metadata(name=self._name, uid=self.status.uid)
        self._recorder.event(NODES, about, type, reason, message)

    async def register(self) -> None:
        """Adopts the Node that is there; `run` creates one that is not. Raises ConfigError (NodeNameTaken)."""
        await self.status.register()

    def renew_lease(self) -> None:
        """Renews the Lease now, so that the freeze learns whether the parent accepts a write."""
        self._lease.renew()

    async def outdated(self) -> str:
        """See ReturnCheck."""
        return await self._return_check.outdated()

    def out_of_sync(self) -> str:
        """See ReturnCheck."""
        return self._return_check.out_of_sync()

    async def run(self) -> None:
        """Works until cancelled. The Node must be registered."""
        loops = (self._kubelet, self.status, self._lease, self._hold, self._brake, self._pods)
        async with asyncio.TaskGroup() as group:
            for loop in loops:
                group.create_task(loop.run())
