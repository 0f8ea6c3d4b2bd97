"""Nodes without a kubelet: only the test starts, ends or deletes their pods."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from tests.cluster import STRATEGIC, ApiFailure, Cluster, Json
from tests.waiting import eventually
from tests.workloads import IDLE
from vk_provider.kube.resources import LEASES, NODES

_EVERY: Final = 10.0  # seconds; a node without a heartbeat for 50 s is declared unreachable


@contextmanager
def idle_node(cluster: Cluster, name: str) -> Iterator[Json]:
    """A Ready node for `idle` pods, with only a heartbeat."""
    cluster.create(NODES, {"metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}}})
    size = {"cpu": "4", "memory": "4Gi", "pods": "100", IDLE: "100"}
    conditions = [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}]
    status = {"status": {"capacity": size, "allocatable": size, "conditions": conditions}}
    cluster.patch(NODES, name, status, subresource="status", content_type=STRATEGIC)
    with _heartbeat(cluster, name):
        eventually(lambda: not cluster.get(NODES, name)["spec"].get("taints"), "the idle node accepts pods")
        yield cluster.get(NODES, name)
    cluster.delete(NODES, name)


@contextmanager
def _heartbeat(cluster: Cluster, node: str) -> Iterator[None]:
    cluster.create(LEASES, {"metadata": {"name": node}, "spec": _spec(node)}, "kube-node-lease")
    stop = threading.Event()

    def beat() -> None:
        own = Cluster(cluster.info, cluster.root)  # one for each thread
        while not stop.wait(_EVERY):
            try:
                own.patch(LEASES, node, {"spec": _spec(node)}, "kube-node-lease")
            except ApiFailure:
                continue  # its API server does not answer
        own.close()

    thread = threading.Thread(target=beat, name=f"heartbeat of {node}")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        cluster.delete(LEASES, node, "kube-node-lease")


def _spec(node: str) -> Json:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"holderIdentity": node, "leaseDurationSeconds": 40, "renewTime": now}
