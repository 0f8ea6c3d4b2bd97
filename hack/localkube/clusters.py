"""The operations on clusters, as functions for the command line, the tests, the demo and the bench.

Each takes `root`, the state directory; None means LOCALKUBE_STATE or `.localkube` of this checkout. All raise
LocalkubeError for what the user can correct.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from . import binaries, images, processes
from .addresses import cidrs
from .api import ApiError
from .bridge import BridgedNetwork
from .checks import check_host, check_shape
from .cluster import Cluster, destroy
from .errors import LocalkubeError
from .network import choose_network, network_of
from .progress import Progress, Silent
from .realnode import cgroup_prefix
from .services import Services
from .spec import ClusterSpec, Kind, parse_specs
from .state import Record, State

_CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl")
_PER_KIND: dict[Kind, tuple[str, ...]] = {
    Kind.NONE: (),
    Kind.FAKE: ("kwok",),
    Kind.REAL: ("kubelet", "kube-proxy", *images.BINARIES),
}
_METRICS = "metrics-server"
_SUITE = ("e2e.test", "ginkgo")


@dataclass(frozen=True)
class ClusterInfo:
    """How to use a cluster that is up."""

    name: str
    kind: Kind
    nodes: int
    address: str
    """Of the API server and of the first real node, if there is one."""
    server: str
    """The API server's URL, valid on this host and in the pods of every cluster of the same state directory."""
    kubeconfig: Path
    host_address: str
    """The address by which the cluster reaches programs on this host."""
    pod_cidr: str
    service_cidr: str
    directory: Path
    isolated: bool
    """The cluster has its own network, which can be cut; otherwise it shares the loopback interface of the host."""
    audit_log: Path | None
    """One JSON object per line and finished request; None without `audit`."""


@dataclass(frozen=True)
class ClusterStatus:
    """Which services of a cluster run at this moment."""

    info: ClusterInfo
    services: dict[str, bool]
    cut: bool
    complete: bool
    """False during the first `up`, and after it failed."""


def up(
    specs: Iterable[ClusterSpec | str],
    *,
    audit: bool = False,
    progress: Progress | None = None,
    root: Path | None = None,
) -> dict[str, ClusterInfo]:
    """Starts clusters; returns when all are usable: API server ready, nodes Ready, and DNS up if nodes are real.

    A healthy cluster stays as it is. A complete one gets its missing services and its link back. A partly created one
    is created again. A different shape for a cluster that is up is an error, raised before anything changes.
    """
    wanted, shown, state = parse_specs(specs), progress or Silent(), State(root)
    if not wanted:
        raise LocalkubeError("name at least one cluster, for example: localkube up parent alpha:real beta:fake=10")
    check_host(wanted)
    with state.locked(lambda: shown.step("localkube", f"waiting for another localkube process that uses {state.root}")):
        known = state.records()
        for spec in wanted:
            if spec.name in known:
                check_shape(known[spec.name], spec, audit)
        archive = _provide_programs(state, wanted, shown)
        clusters = [(spec.name, _prepare(state, spec, audit, shown)) for spec in wanted]
        with ThreadPoolExecutor(max_workers=len(clusters)) as pool:
            futures = [pool.submit(_bring_up, name, cluster, archive, shown) for name, cluster in clusters]
        errors = [error for future in futures if (error := future.exception()) is not None]
        if errors:
            raise errors[0]
    return {spec.name: info(spec.name, root=root) for spec in wanted}


def fetch(progress: Progress | None = None) -> None:
    """Fills the cache with all that any cluster may need: programs and, for root, images.

    `up` does this too. Callers with a deadline, such as tests, call this first.
    """
    shown = progress or Silent()
    kinds = [Kind.FAKE, Kind.REAL] if os.geteuid() == 0 else [Kind.FAKE]
    found = binaries.ensure(
        dict.fromkeys([*_CONTROL_PLANE, *(name for kind in kinds for name in _PER_KIND[kind]), _METRICS]), shown
    )
    if Kind.REAL in kinds:
        images.ensure(found, shown)


def down(names: Iterable[str] = (), *, root: Path | None = None, progress: Progress | None = None) -> list[str]:
    """Removes these clusters, or all; returns the names of the clusters that existed, even in part."""
    shown, state, chosen = progress or Silent(), State(root), list(names)
    if not state.root.exists() and not processes.find(state.ident):
        return []
    with state.locked(lambda: shown.step("localkube", f"waiting for another localkube process that uses {state.root}")):
        records = state.records()
        present = {*records, *(process.cluster for process in processes.find(state.ident))} - {""}
        doomed = sorted(present if not chosen else present & set(chosen))
        for name in doomed:
            if name in records and records[name].isolated and os.geteuid() != 0:
                raise LocalkubeError(f"cluster {name} was started by root; run this as root")
        with ThreadPoolExecutor(max_workers=max(1, len(doomed))) as pool:
            for name, _ in zip(doomed, pool.map(lambda name: destroy(state, name), doomed), strict=True):
                shown.done(name, "removed")
        if present == set(doomed):
            choose_network(state).remove()
            for link in (state.root / "bin").glob("*"):
                link.unlink()
    return doomed


def status(*, root: Path | None = None) -> list[ClusterStatus]:
    """The clusters of the state directory, in the order of their first start."""
    state = State(root)
    found = []
    for record in state.records().values():
        services = Services(state, record)
        network = network_of(state, record)
        running = {name: services.running(name) for name in services.names()}
        cut = network.is_attached(record) and network.is_cut(record)
        found.append(ClusterStatus(_info(state, record), running, cut, record.complete))
    return found


def info(name: str, *, root: Path | None = None) -> ClusterInfo:
    state = State(root)
    return _info(state, state.record(name))


def cut(name: str, *, root: Path | None = None) -> None:
    """Drops all packets between this cluster and the others or the host, until `heal`. Idempotent."""
    _set_cut(name, True, root)


def heal(name: str, *, root: Path | None = None) -> None:
    """Undoes `cut`. Connections that have not timed out continue."""
    _set_cut(name, False, root)


def route(name: str, to: str, *, root: Path | None = None) -> None:
    """Makes the pods of cluster `to` reachable from cluster `name`, as in a flat network. One way only; idempotent."""
    state = State(root)
    record = state.record(name)
    network_of(state, record).route(record, state.record(to))


def stop(name: str, service: str, *, root: Path | None = None) -> None:
    """Kills a service of a cluster (SIGKILL), and returns when it has ended. Idempotent."""
    state = State(root)
    Services(state, state.record(name)).stop(service)


def start(name: str, service: str, *, root: Path | None = None) -> None:
    """Starts a stopped service with the same arguments. Does not wait until it is ready. Idempotent."""
    state = State(root)
    services = Services(state, state.record(name))
    services.start(services.load(service))


def control_group(name: str, node: int, *, root: Path | None = None) -> str:
    """The name of the control group of a real node's pods, in every hierarchy."""
    return f"{cgroup_prefix(State(root), name)}{node}"


def suite(progress: Progress | None = None) -> dict[str, Path]:
    """The programs `e2e.test`, which holds the tests of Kubernetes, and `ginkgo`, which runs them in parallel."""
    return binaries.ensure(_SUITE, progress or Silent())


def program(name: str, *, root: Path | None = None) -> Path:
    """The path of a program of the clusters, such as `kubectl`. Raises LocalkubeError before the first `up`."""
    path = State(root).root / "bin" / name
    if not path.exists():
        raise LocalkubeError(f"{path} does not exist; the first `localkube up` creates it")
    return path


def _set_cut(name: str, cut: bool, root: Path | None) -> None:
    state = State(root)
    record = state.record(name)
    network_of(state, record).set_cut(record, cut)


def _info(state: State, record: Record) -> ClusterInfo:
    directory = state.directory(record.spec.name)
    return ClusterInfo(
        name=record.spec.name,
        kind=record.spec.kind,
        nodes=record.spec.nodes,
        address=record.address,
        server=Cluster(state, record).server,
        kubeconfig=directory.kubeconfig,
        host_address=record.host_address,
        pod_cidr=record.pod_cidr,
        service_cidr=record.service_cidr,
        directory=directory.path,
        isolated=record.isolated,
        audit_log=directory.audit_log if record.audit else None,
    )


def _provide_programs(state: State, wanted: list[ClusterSpec], progress: Progress) -> Path | None:
    """Links the programs of the clusters into the state directory; builds the images if any node is real."""
    names = dict.fromkeys([*_CONTROL_PLANE, *(name for spec in wanted for name in _PER_KIND[spec.kind])])
    if any(spec.metrics for spec in wanted):
        names[_METRICS] = None
    found = binaries.ensure(names, progress)
    links = state.root / "bin"
    links.mkdir(exist_ok=True)
    for name, path in found.items():
        link, temporary = links / name, links / f".{name}"
        if not link.is_symlink() or link.readlink() != path:
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(path)
            temporary.rename(link)
    real = any(spec.kind is Kind.REAL for spec in wanted)
    return images.ensure(found, progress) if real else None


def _prepare(state: State, spec: ClusterSpec, audit: bool, progress: Progress) -> Cluster:
    """The recorded cluster if it can be completed; otherwise a new record, after all remains have been removed."""
    old = state.records().get(spec.name)
    if old is not None and Cluster(state, old).can_be_completed():
        return Cluster(state, old)
    progress.step(spec.name, "starting" if old is None else "removing what an interrupted start left behind")
    destroy(state, spec.name)
    taken = {record.index for record in state.records().values()}
    index = next(number for number in range(len(taken) + 1) if number not in taken)
    network = choose_network(state)
    place = network.place(index)
    pod_cidr, service_cidr = cidrs(index)
    record = Record(
        spec=spec,
        index=index,
        address=place.address,
        host_address=place.host_address,
        pod_cidr=pod_cidr,
        service_cidr=service_cidr,
        isolated=isinstance(network, BridgedNetwork),
        ports=place.ports,
        audit=audit,
    )
    state.save(record)
    return Cluster(state, record)


def _bring_up(name: str, cluster: Cluster, archive: Path | None, progress: Progress) -> None:
    if cluster.is_healthy():
        progress.done(name, "already up")
        return
    try:
        cluster.bring_up(archive, partial(progress.step, name))
    except ApiError as error:
        raise LocalkubeError(
            f"cluster {name}: {error}; run the same command again, or: localkube down {name}"
        ) from error
    progress.done(name, "ready")
