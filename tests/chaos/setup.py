"""Starts the clusters, nodes and the provider of a run, and removes all of them at its end."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import localkube

from tests import members
from tests.chaos import hands
from tests.chaos.actions import MEMBERS, NAMESPACES
from tests.chaos.containers import Containers
from tests.chaos.history import PARENT, History, node_seen
from tests.chaos.kubelet import Kubelet
from tests.chaos.machines import Machines, Real, Simulated
from tests.chaos.observers import Observers
from tests.chaos.plan import NODES
from tests.chaos.watching import Api, into
from tests.chaos.world import PROVIDER_IDS, World
from tests.cluster import Cluster
from tests.integration.connecting import admin_token, document
from tests.link import Link
from tests.provider import Provider
from vk_provider.kube.resources import NAMESPACES as NAMESPACE

_FAST: Final = {"probeSeconds": 1, "lostAfterSeconds": 5, "returnAfterSeconds": 2}
_HIERARCHIES: Final = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))  # control groups of version 1, version 2


@contextmanager
def bring_up(root: Path, seed: int, *, real: bool = False) -> Iterator[World]:
    """`real`: the nodes of the members run containers; otherwise they are simulated."""
    with ExitStack() as stack:
        stack.callback(localkube.down, root=root)
        shape = f":real={len(NODES)}" if real else ""
        made = localkube.up([PARENT, *(f"{name}{shape}" for name in MEMBERS)], root=root)
        clusters = {name: Cluster(info, root) for name, info in made.items()}
        for cluster in clusters.values():
            stack.callback(cluster.close)
        links = {name: stack.enter_context(Link(clusters[name], seed=seed)) for name in clusters}
        parent = clusters[PARENT]
        kubeconfig = root / "provider.kubeconfig"
        token = {"token": admin_token(parent)}
        kubeconfig.write_text(json.dumps(links[PARENT].through(document(parent, None, token))))
        provider = Provider(kubeconfig, root / "provider.log")
        stack.callback(provider.stop)
        history, observers = History(), stack.enter_context(Observers())
        apis = observers.run(_connect(clusters))
        stack.callback(lambda: [observers.run(api.close()) for api in apis.values()])
        stack.callback(observers.stop_tasks)
        machines = _real(clusters, history, observers) if real else _simulated(apis, history, observers, seed)
        _observe(apis, history, observers)
        world = World(clusters, provider, links, history, observers, machines)
        _join(world)
        observers.start(hands.act_as_cloud(apis[PARENT], lambda: world.effects.update([hands.CLOUD])))
        yield world
        world.end_faults()


async def _connect(clusters: dict[str, Cluster]) -> dict[str, Api]:
    return {name: Api(cluster) for name, cluster in clusters.items()}


def _join(world: World) -> None:
    members.install(world.parent)
    for name in MEMBERS:
        members.grant(world.clusters[name])
        identity = {"providerID": PROVIDER_IDS[name]} if PROVIDER_IDS[name] else {}
        members.join(world.parent, name, world.accounts[name].issue_token(), health=_FAST, **identity)
    world.provider.start()
    for name in MEMBERS:
        members.wait_until_served(world.parent, name, 90)
    for name in NAMESPACES:
        world.parent.create(NAMESPACE, {"metadata": {"name": name}})


def _observe(apis: dict[str, Api], history: History, observers: Observers) -> None:
    for name, api in apis.items():
        observers.start(api.follow("/api/v1/pods", into(history, name)))
    observers.start(
        apis[PARENT].follow(
            "/api/v1/nodes",
            lambda kind, node: history.add_node(node_seen(node, gone=kind == "DELETED", at=time.monotonic())),
        )
    )


def _simulated(apis: dict[str, Api], history: History, observers: Observers, seed: int) -> Machines:
    kubelets = {
        f"{name}-{number}": Kubelet(name, f"{name}-{number}", apis[name], history, seed)
        for name in MEMBERS
        for number in NODES
    }
    for kubelet in kubelets.values():
        observers.start(kubelet.run())
    return Simulated(kubelets, observers)


def _real(clusters: dict[str, Cluster], history: History, observers: Observers) -> Machines:
    hierarchy = next(place for place in _HIERARCHIES if place.is_dir())
    groups = {
        f"{name}-{number}": localkube.control_group(name, int(number), root=clusters[name].root)
        for name in MEMBERS
        for number in NODES
    }
    containers = Containers(history, hierarchy, groups)
    observers.start(containers.run())
    return Real(clusters, containers)
