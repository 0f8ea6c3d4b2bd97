"""The pods and the dependents of one virtual node between two API servers in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from tests.unit.objects_server import Json, ObjectServer
from tests.unit.pod_loop_parts import NoResources, ParentLists, Quiet
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node, Object
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS, Resource
from vk_provider.observable import Observable
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.sync.dependents.dependents import Dependents
from vk_provider.sync.dependents.sources import WatchLimit
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.loop import PodLoop
from vk_provider.sync.pods.orphans import OrphanBrake
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.dependents.network_policies import NetworkPolicy
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.state.health import State
from vk_provider.translate.state.rights import ALL_RIGHTS, Rights

NAMES: Final = Names("alpha", "parent-uid")


class Events(Recorder):
    """Keeps Events as (reason, message), newest last."""

    def __init__(self) -> None:
        self.written: list[tuple[str, str]] = []

    async def run(self) -> None:
        await asyncio.Event().wait()

    def event(self, resource: Resource, about: Metadata, type: str, reason: str, message: str) -> None:
        self.written.append((reason, message))


@dataclass
class World:
    """Both servers, what runs between them, and the Events."""

    parent: ObjectServer
    member: ObjectServer
    cluster: Observable[MemberCluster]
    state: MemberState
    pods: PodCaches
    dependents: Dependents
    loop: PodLoop
    events: list[tuple[str, str]]
    watches: WatchLimit
    policies: Informer[NetworkPolicy]  # of the parent

    def reasons(self) -> set[str]:
        return {reason for reason, _ in self.events}


class _EndError(Exception):
    """Ends the task group."""


@asynccontextmanager
async def world(
    parent: ObjectServer,
    member: ObjectServer,
    *,
    spec: MemberClusterSpec | None = None,
    held: bool = False,
    names: Names = NAMES,
    rights: Rights = ALL_RIGHTS,
) -> AsyncIterator[World]:
    """Runs within the block. What the servers have at its start was made by earlier processes.

    `held`: another virtual node of the member holds orphans.
    """
    cluster = Observable(MemberCluster(Metadata(name="alpha"), spec or MemberClusterSpec(SecretRef("s", "n"))))
    state, pods = MemberState(State.HEALTHY, cluster), PodCaches.of(parent, member, names)
    state.hold_orphans("another", held=held)
    recorder = Events()
    nodes: Informer[MemberNode] = Informer(member, NODES, Node, keep=member_node)
    caches, lists = DependentCaches.of(member, names, [pods], nodes, rights), ParentLists(parent, recorder)
    try:
        async with asyncio.TaskGroup() as tasks:
            informers: list[Informer[Any]] = [pods.parent, pods.member, *caches.own(), nodes]
            informers += [lists.namespaces, lists.policies, lists.budgets]
            for informer in informers:
                tasks.create_task(informer.run())
            tasks.create_task(lists.services.run())
            for informer in informers:
                await informer.synced.wait()
            await lists.services.synced()
            dependents = Dependents(Target(names), cluster, lists, member, caches, state, tasks)
            loop = PodLoop(
                Target(names),
                parent,
                member,
                pods,
                state=state,
                resources=NoResources(),
                dependents=dependents,
                brake=OrphanBrake(cluster, parent, pods, state, Quiet()),
                recorder=recorder,
                workers=4,
                cluster=cluster,
                nodes=nodes,
            )
            tasks.create_task(dependents.run())
            tasks.create_task(loop.run())
            events, watches, policies = recorder.written, lists.object_watches, lists.policies
            yield World(parent, member, cluster, state, pods, dependents, loop, events, watches, policies)
            raise _EndError
    except* _EndError:
        pass


def bound(server: ObjectServer, name: str, namespace: str = "shop", **parts: Any) -> Json:
    """A pod of the parent that is bound to the virtual node. `spec` and `status` add to it."""
    spec = {"nodeName": "alpha", "containers": [{"name": "app", "image": "app:1"}], **parts.pop("spec", {})}
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T10:00:00Z"}
    status = {"phase": "Pending", "conditions": [scheduled], **parts.pop("status", {})}
    metadata = {"uid": f"p-{name}", **parts.pop("metadata", {})}
    return server.put(PODS, name, namespace, spec=spec, status=status, metadata=metadata)


def with_volume(**source: Any) -> Json:
    """The part of a spec that mounts this source."""
    return {"volumes": [{"name": "v", **source}]}


__all__ = ["NAMES", "Object", "World", "bound", "with_volume", "world"]
