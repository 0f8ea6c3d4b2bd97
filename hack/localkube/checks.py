"""What `up` checks before it changes anything: this host, and clusters that are already up."""

from __future__ import annotations

import os

from . import processes
from .errors import LocalkubeError
from .spec import ClusterSpec, Kind
from .state import Record


def check_host(wanted: list[ClusterSpec]) -> None:
    if os.uname().sysname != "Linux":
        raise LocalkubeError("clusters require Linux: they use namespaces and containers of its kernel")
    real = [spec.name for spec in wanted if spec.kind is Kind.REAL]
    if real and os.geteuid() != 0:
        raise LocalkubeError(f"cluster {real[0]}: real nodes need root; run this as root, or use {real[0]}:fake")
    measured = [spec.name for spec in wanted if spec.metrics]
    if measured and os.geteuid() != 0:
        raise LocalkubeError(f"cluster {measured[0]}: metrics-server needs a network namespace; run this as root")
    needed = ["setsid", "ip"]
    if os.geteuid() == 0:
        needed += ["nft", "nsenter", "unshare"]
    if real:
        needed += ["containerd", "ctr", "runc", "iptables", "conntrack", "mount", "bash"]
    for program_name in needed:
        processes.locate(program_name)


def check_shape(record: Record, spec: ClusterSpec, audit: bool) -> None:
    name = spec.name
    if record.spec != spec:
        raise LocalkubeError(
            f"cluster {name} is up as {record.spec.shape}, not {spec.shape}; to change it: localkube down {name}"
        )
    if record.audit != audit:
        has = "with" if record.audit else "without"
        raise LocalkubeError(f"cluster {name} is up {has} --audit; to change it: localkube down {name}")
    if record.isolated and os.geteuid() != 0:
        raise LocalkubeError(f"cluster {name} was started by root; run this as root, or remove it as root")
