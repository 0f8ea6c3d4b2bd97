"""Starts and destroys one cluster.

Each step of a start does only what is missing, so the same steps complete a cluster with stopped services. A cluster
that was never complete is created again instead: it holds no data of a user.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from string import Template

import yaml

from . import cgroups, controlplane, fakenode, images, metrics, pki, processes
from .api import Api, ApiError, collection_path
from .network import network_of
from .realnode import RealNode, cgroup_prefix, dns_address, start_registry
from .services import Services
from .spec import Kind
from .state import Record, State

_COREDNS = Path(__file__).resolve().parent / "manifests" / "coredns.yaml"


class Cluster:
    """A cluster that has a record. What runs of it is looked up each time."""

    def __init__(self, state: State, record: Record) -> None:
        self._state, self._record = state, record
        self._directory = state.directory(record.spec.name)
        self._network = network_of(state, record)
        self.services = Services(state, record)

    @property
    def server(self) -> str:
        return f"https://{self._record.address}:{self._record.ports.apiserver}"

    def is_healthy(self) -> bool:
        """All started services run, and the API server and the nodes are ready."""
        record = self._record
        if not record.complete or not self._network.is_attached(record) or self._network.is_cut(record):
            return False
        if not all(self.services.running(name) for name in self.services.names()):
            return False
        api = Api(record, self._directory)
        return api.is_ready(timeout=2) and (record.spec.nodes == 0 or _try(lambda: self._nodes_ready(api)))

    def can_be_completed(self) -> bool:
        """Whether an `up` finished once, and the network that the certificates name still exists."""
        return self._record.complete and self._network.is_attached(self._record)

    def bring_up(self, archive: Path | None, step: Callable[[str], None]) -> None:
        """Starts what is missing, and waits until the cluster is usable. `archive` holds the images of real nodes."""
        record, services, binaries = self._record, self.services, self._state.root / "bin"
        step("creating the network and certificates")
        self._network.attach(record)
        if not self._directory.kubeconfig.exists():
            pki.create(record, self._directory, self.server)
        nodes = [RealNode(self._state, record, services, number) for number in self._real_numbers()]
        api = Api(record, self._directory)
        with ThreadPoolExecutor(max_workers=len(nodes) + 1) as pool:
            if nodes:
                start_registry(services, record, _given(archive))
            # First, because the import of images takes longest and depends on nothing else.
            runtimes = [pool.submit(node.start_runtime, _given(archive), step) for node in nodes]
            controlplane.start_storage_and_api(services, record, self._directory, binaries)
            step("starting etcd and the API server")
            controlplane.wait_for_api(services, api)
            step("starting the controllers")
            controlplane.start_controllers(services, record, self._directory, binaries)
            for node in nodes:
                node.register(api)
            if nodes:
                self._apply_dns(api)
            for node, runtime in zip(nodes, runtimes, strict=True):
                runtime.result()
                node.start_agents()
        if record.spec.metrics:
            metrics.start(services, record, self._directory, binaries)
            metrics.register(api, record, self._directory)
        if record.spec.kind is Kind.FAKE:
            fakenode.start(services, record, self._directory, binaries)
            fakenode.register(api, record)
        self._wait_until_usable(api, step)
        self._state.save(dataclasses.replace(record, complete=True))

    def destroy(self) -> None:
        destroy(self._state, self._record.spec.name)

    def _wait_until_usable(self, api: Api, step: Callable[[str], None]) -> None:
        services = self.services
        if self._record.spec.nodes:
            step(f"waiting for {self._record.spec.nodes} nodes")
            agent = "kubelet" if self._record.spec.kind is Kind.REAL else "kwok"
            services.wait(agent, "Ready nodes", lambda: _try(lambda: self._nodes_ready(api)), seconds=180)
        if self._record.spec.kind is Kind.REAL:
            step("waiting for DNS")
            services.wait("kubelet", "CoreDNS", lambda: _try(lambda: _dns_available(api)), seconds=120)
        step("waiting for the default service account")
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        services.wait("controller-manager", "the default service account", lambda: api.has(account))

    def _nodes_ready(self, api: Api) -> bool:
        return api.ready_nodes() >= self._record.spec.nodes

    def _real_numbers(self) -> range:
        return range(1, self._record.spec.nodes + 1) if self._record.spec.kind is Kind.REAL else range(0)

    def _apply_dns(self, api: Api) -> None:
        values = {"dns": dns_address(self._record), "image": images.COREDNS}
        for manifest in yaml.safe_load_all(Template(_COREDNS.read_text()).substitute(values)):
            api.create(collection_path(manifest), manifest)


def destroy(state: State, name: str) -> None:
    """Removes all that belongs to a cluster, even without a record. The record is deleted last: after a crash, calling
    this again completes the removal.
    """
    processes.kill(lambda: processes.find(state.ident, name))
    cgroups.remove(cgroup_prefix(state, name))
    directory = state.directory(name)
    if directory.record_file.exists():
        for child in directory.path.iterdir():
            if child != directory.record_file:
                shutil.rmtree(child) if child.is_dir() and not child.is_symlink() else child.unlink()
        directory.record_file.unlink()
        directory.path.rmdir()


def _given(archive: Path | None) -> Path:
    if archive is None:
        raise ValueError("real nodes need an archive of images")
    return archive


def _dns_available(api: Api) -> bool:
    deployment = api.get("/apis/apps/v1/namespaces/kube-system/deployments/coredns")
    return int(deployment["status"].get("availableReplicas", 0)) >= 1


def _try(check: Callable[[], object]) -> bool:
    """Whether the check holds. An API error counts as not yet."""
    try:
        return bool(check())
    except ApiError:
        return False
