"""One member wired end to end: connects, builds its loops, and runs them as one TaskGroup.

    read the kubeconfig -> examine the member -> caches complete -> register the virtual node -> loops
                                                                          (leaving: drain, then the loops end)

`run` returns when the membership has ended, and raises otherwise; whoever supervises decides when to try again. One
broken member never disturbs another: nothing here is shared but the parent's client, namespaces and Services.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from dataclasses import dataclass
from typing import Any

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.caches import Caches
from vk_provider.config import Settings
from vk_provider.errors import UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.recorder import Recorder
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.metrics import MemberMetrics
from vk_provider.kubelet.server import KubeletServer
from vk_provider.sync.dependents.certificates import CertificateLoop
from vk_provider.sync.dependents.loop import DependentLoop
from vk_provider.sync.dependents.namespaces import NamespaceLoop
from vk_provider.sync.dependents.services import ServiceLoop
from vk_provider.sync.membership import leave
from vk_provider.sync.membership.access import Facts, examine, identify
from vk_provider.sync.membership.kubeconfig import MemberKubeconfig
from vk_provider.sync.membership.report import Report
from vk_provider.sync.nodes.hold import HoldLoop
from vk_provider.sync.nodes.lease import LeaseLoop
from vk_provider.sync.nodes.node import NodeLoop
from vk_provider.sync.parent.services import ParentServices
from vk_provider.sync.pods.events import EventLoop, member_events
from vk_provider.sync.pods.loop import PodLoop
from vk_provider.sync.pods.orphans import OrphanBrake
from vk_provider.sync.pods.returning import Return
from vk_provider.sync.pods.status import StatusWriter
from vk_provider.sync.state.health import HealthLoop
from vk_provider.translate.names import Names
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.state.freeze import Freeze
from vk_provider.translate.state.health import Belief, Health, State

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Parent:
    """What all members share.

    `freeze` tells a lost member from a lost network. `host` and `port` are those of its API server as pods in members
    reach it; `kubelet_address` is the address of this process that the API server can reach.
    """

    client: Client
    uid: str
    host: str
    port: str
    kubelet_address: str
    namespaces: Informer[PartialObject]
    services: ParentServices
    recorder: Recorder
    freeze: Freeze


class Member:
    """See the module's text. Built anew for each attempt."""

    def __init__(self, cluster: MemberCluster, parent: Parent, settings: Settings, report: Report) -> None:
        self._cluster, self._parent, self._settings, self._report = cluster, parent, settings, report
        self._name = cluster.metadata.name
        self._names = Names(cluster.node_name, parent.uid, cluster.spec.namespace_mapping.prefix)
        self._target = Target(self._names, cluster.spec.api_access, parent.host, parent.port)
        self._kubeconfig = MemberKubeconfig(parent.client, cluster.spec.kubeconfig_secret_ref)
        self._serving: _Serving | None = None

    async def connect(self) -> tuple[Client, Facts]:
        """The client of the member, and whom it reached; the caller closes the client.

        Raises ConfigError or UnreachableError with the cause in words.
        """
        client = await self._kubeconfig.client()
        try:
            return client, await examine(client)
        except BaseException:
            await client.close()
            raise

    async def run(self, member: Client, facts: Facts) -> None:
        """Serves the member until the membership has ended (returns) or something breaks (raises)."""
        caches = Caches.of(self._parent.client, member, self._names)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(informer.run()) for informer in caches.all()]
            await caches.synced(member)
            tasks += [group.create_task(loop) for loop in await self._loops(member, facts, caches)]
            # What is cached now lives long; the collector need not walk it again and again.
            gc.collect()
            gc.freeze()
            if self._cluster.metadata.deletion_timestamp is None:
                await self.follow(self._cluster)
                return
            await self._leave(caches)
            for task in tasks:
                task.cancel()

    async def _loops(self, member: Client, facts: Facts, caches: Caches) -> list[Any]:
        """Registers the virtual node and gives everything that has to run for it."""
        parent, names, recorder = self._parent.client, self._names, self._parent.recorder
        address = self._parent.kubelet_address
        node = NodeLoop(
            self._cluster,
            facts.version,
            parent,
            caches.nodes,
            caches.others,
            belief=self._belief,
            recorder=recorder,
            address=address,
        )
        lease = LeaseLoop(names.node, parent, self._parent.freeze, uid=lambda: node.uid, missing=node.changed)
        brake = OrphanBrake(
            self._name,
            names,
            parent,
            caches.parent_pods,
            caches.member_pods,
            second_look=lambda: self._cluster.spec.health.second_look_seconds,
            tell=self._tell_orphans,
        )
        returning = Return(
            names,
            parent,
            member,
            caches.parent_pods,
            caches.member_pods,
            holding=lambda: brake.holding,
            refreshed=self._resync,
        )
        health = HealthLoop(
            self._name,
            names.node,
            member,
            await self._first_health(node),
            self._parent.freeze,
            probe=lambda deadline: identify(member, facts.cluster_uid, member=self._name, deadline=deadline),
            returning=returning,
            prove_parent=lease.renew,
            timestamp=lambda: parent.server_time().strftime("%Y-%m-%dT%H:%M:%SZ"),
            changed=self._changed,
        )
        hold = HoldLoop(names.node, parent, caches.parent_pods, recorder, state=lambda: self._belief().state)
        dependents = DependentLoop(self._target, parent, caches.copies, keep=lambda: brake.holding)
        for pod in caches.parent_pods.items.values():
            dependents.adopt(pod)
        namespaces = NamespaceLoop(
            names, parent, member, self._parent.namespaces, caches.namespaces, in_use=caches.in_use
        )
        services = ServiceLoop(
            names,
            self._parent.services,
            caches.reflections,
            (caches.parent_pods, caches.member_pods),
            self._parent.recorder,
            keep=lambda: brake.holding,
            flat=self._cluster.spec.network.flat,
            leaving=self._cluster.metadata.deletion_timestamp is not None,
        )
        pods = PodLoop(
            self._target,
            parent,
            member,
            caches.parent_pods,
            caches.member_pods,
            dependents=dependents,
            namespaces=namespaces,
            services=services,
            statuses=StatusWriter(parent, caches.parent_pods),
            brake=brake,
            recorder=recorder,
            workers=self._settings.workers,
            blind=self._blind,
            known=lambda: node.known_resources,
        )
        secrets = caches.copies.lists["Secret"]
        certificates = CertificateLoop(names, parent, member, caches.parent_pods, secrets, recorder)
        events = EventLoop(names, caches.parent_pods, caches.member_pods, member_events(member), recorder)
        backend = Backend(
            names,
            member,
            lambda: caches.parent_pods.items,
            lambda: caches.member_pods.items,
            unreachable=lambda: self._lost() or None,
        )
        metrics = MemberMetrics(member, names, lambda: list(caches.nodes.items), caches.member_pods)
        kubelet = KubeletServer(
            parent, backend, metrics, address, published=node.serve_kubelet, more_figures=health.figures
        )
        self._serving = _Serving(node, health, hold, pods, services, brake, returning)
        await node.register()
        return [
            kubelet.run(),
            health.run(),
            node.run(),
            lease.run(),
            hold.run(),
            brake.run(),
            dependents.run(),
            namespaces.run(),
            services.run(),
            pods.run(),
            certificates.run(),
            events.run(),
            self._report.run(),
            self._kubeconfig.run(),
            self._announce(node),
        ]

    async def _first_health(self, node: NodeLoop) -> Health:
        """A member whose node is not Ready comes back: from a loss, or because there was no provider for a while."""
        now = asyncio.get_running_loop().time()
        away = await node.ready_status() in ("False", "Unknown")
        reachable = self._cluster.status.condition(wellknown.REACHABLE)
        lost = reachable is not None and reachable.reason in (State.LOST, State.RETURNING)
        return Health(self._cluster.spec.health, now, returning=away, waited=not lost)

    def _belief(self) -> Belief:
        return self._serving.health.belief if self._serving else Belief()

    def _lost(self) -> str:
        """Why nothing is known of the member; empty where it is not lost."""
        belief = self._belief()
        return f"the member behind the node does not answer: {belief.error}" if belief.state is State.LOST else ""

    def _blind(self) -> str:
        """Why nothing certain is known of the member's pods: it is lost, or what is known of it dates from before."""
        if self._serving and not self._serving.returning.fresh:
            return self._lost() or "the member behind the node answers again, and is not listed yet"
        return self._lost()

    async def _changed(self, before: State) -> None:
        """What is believed of the member has changed: the node, its pods, and what is said of both."""
        if (serving := self._serving) is None:
            return
        state = serving.health.belief.state
        if state not in (before, State.SUSPECT):
            self._resync()
        if state is State.LOST:
            await serving.hold.lose()
        serving.node.believe()
        serving.hold.changed()
        await self._say_belief()

    def _resync(self) -> None:
        """Everything is looked at again, now that something else is known."""
        if self._serving is not None:
            self._serving.pods.resync()
            if not self._blind():
                self._serving.services.resync()

    async def _say_belief(self) -> None:
        """The conditions of the MemberCluster, while it is served."""
        belief = self._belief()
        ready, reason, message = belief.cluster_ready
        await self._report.tell(wellknown.REACHABLE, *belief.reachable)
        if ready and not (self._serving and self._serving.node.written.is_set()):
            return  # see _announce
        if self._cluster.metadata.deletion_timestamp is None:
            await self._report.say(ready, reason, message or f"virtual node {self._names.node} is served")

    async def _announce(self, node: NodeLoop) -> None:
        """The member is Ready once its node is: who waits for it finds a node that pods can be scheduled to."""
        await node.written.wait()
        await self._say_belief()

    async def _tell_orphans(self, held: bool, reason: str, message: str) -> None:
        await self._report.tell(wellknown.ORPHANS_HELD, "True" if held else "False", reason, message)
        if not held and self._cluster.metadata.annotations.get(wellknown.CONFIRM) == wellknown.CONFIRM_ORPHANS:
            await self._report.forget_annotation(wellknown.CONFIRM)

    async def follow(self, cluster: MemberCluster) -> None:
        """Takes up another version of the MemberCluster that needs no new connection."""
        self._cluster = cluster
        if (serving := self._serving) is None:
            return
        serving.health.health.spec = cluster.spec.health
        serving.health.fenced = wellknown.FENCED in cluster.metadata.annotations
        serving.node.follow(cluster)
        serving.services.follow(flat=cluster.spec.network.flat)
        if cluster.metadata.annotations.get(wellknown.CONFIRM) == wellknown.CONFIRM_ORPHANS:
            if serving.brake.holding:
                serving.brake.confirm()
            else:
                await self._report.forget_annotation(wellknown.CONFIRM)
        await self._say_belief()

    async def _leave(self, caches: Caches) -> None:
        async def say(message: str) -> None:
            if why := self._lost():
                raise UnreachableError(why)
            await self._report.say(False, "Leaving", message)

        await leave.drain(self._parent.client, self._cluster, caches.parent_pods, caches.count_in_member, say)


@dataclass(frozen=True)
class _Serving:
    """The loops of a member that is served, as far as others have a word with them."""

    node: NodeLoop
    health: HealthLoop
    hold: HoldLoop
    pods: PodLoop
    services: ServiceLoop
    brake: OrphanBrake
    returning: Return
