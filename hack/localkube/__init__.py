"""Real Kubernetes clusters on one machine, without Docker: `hack/localkube/localkube`, or this package as a library.

    import localkube
    clusters = localkube.up(["parent", "alpha:real", "beta:fake=10"])
    clusters["parent"].kubeconfig

In reading order:

    spec          the wanted shape of a cluster
    clusters      the operations: up, down, status, cut, heal, stop, start
    cluster       one cluster, step by step
    state         the state directory
    processes     daemons, found by a mark in their environment
    network       namespaces and the switch, or the loopback (with addresses)
    services      the daemons of a cluster, recorded so that they can be stopped and started
    pki, api      certificates and kubeconfigs; the few requests that localkube sends
    controlplane  etcd, API server, controller-manager, scheduler
    realnode      containerd, kubelet, kube-proxy (with cgroups, registry)
    fakenode      kwok
    metrics       metrics-server
    binaries      the programs that clusters run, and where they come from (with download)
    images        the images that real nodes have instead of pulling them (with archive)
    cli           the command line (with progress)
"""

from .clusters import (
    ClusterInfo,
    ClusterStatus,
    control_group,
    cut,
    down,
    fetch,
    heal,
    info,
    program,
    route,
    start,
    status,
    stop,
    suite,
    up,
)
from .errors import LocalkubeError
from .progress import Progress, on_stderr
from .spec import ClusterSpec, Kind

__all__ = [
    "ClusterInfo",
    "ClusterSpec",
    "ClusterStatus",
    "Kind",
    "LocalkubeError",
    "Progress",
    "control_group",
    "cut",
    "down",
    "fetch",
    "heal",
    "info",
    "on_stderr",
    "program",
    "route",
    "start",
    "status",
    "stop",
    "suite",
    "up",
]
