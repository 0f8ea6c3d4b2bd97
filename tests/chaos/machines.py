"""The machines of the members: simulated ones (`kubelet`), or real ones with containers."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Mapping
from typing import Final, Protocol

import localkube

from tests.chaos.containers import Containers
from tests.chaos.kubelet import Kubelet
from tests.chaos.observers import Observers
from tests.cluster import STRATEGIC, Cluster
from vk_provider.kube.resources import NODES


class Machines(Protocol):
    """Interface: the machines, by the names of their nodes."""

    def leave(self, node: str, *, crash: bool, reported: bool) -> None:
        """The machine no longer reaches its API server. `crash`: its containers end. `reported`: the last status of its
        Node is not Ready."""

    def come_back(self, node: str) -> None:
        """The machine works again. Does nothing if it does."""


class Simulated:
    """Machines of this process. `leave` and `come_back` run in the event loop of the observers."""

    def __init__(self, kubelets: Mapping[str, Kubelet], observers: Observers) -> None:
        self._kubelets, self._observers = kubelets, observers

    def leave(self, node: str, *, crash: bool, reported: bool) -> None:
        async def leave() -> None:
            if reported:
                await self._kubelets[node].report(ready=False)
            self._kubelets[node].leave(crash=crash)

        self._observers.run(leave())

    def come_back(self, node: str) -> None:
        async def come_back() -> None:
            self._kubelets[node].come_back()

        self._observers.run(come_back())


class Real:
    """Machines of localkube. One that leaves is one whose kubelet is killed."""

    def __init__(self, clusters: Mapping[str, Cluster], containers: Containers) -> None:
        self._clusters, self._containers = clusters, containers

    def leave(self, node: str, *, crash: bool, reported: bool) -> None:
        cluster, service = self._find(node)
        cluster.stop(service)
        if reported:
            conditions = [{"type": "Ready", "status": "False", "reason": "Test", "message": ""}]
            body = {"status": {"conditions": conditions}}
            cluster.patch(NODES, node, body, subresource="status", content_type=STRATEGIC)
        for pid in self._containers.processes(node) if crash else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def come_back(self, node: str) -> None:
        cluster, service = self._find(node)
        localkube.start(cluster.name, service, root=cluster.root)  # also while its API server does not answer

    def _find(self, node: str) -> tuple[Cluster, str]:
        member, _, number = node.rpartition("-")
        return self._clusters[member], "kubelet" if number == _FIRST else f"kubelet-{number}"


_FIRST: Final = "1"
