"""The addresses of clusters, their pods and their Services. They overlap neither one another nor those of the host."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, ip_address
from pathlib import Path

from . import processes
from .errors import LocalkubeError
from .state import Ports, Record

# Sixteen addresses for each cluster: one for the cluster and one for each further node.
PER_CLUSTER = 16


@dataclass(frozen=True)
class Place:
    """The address and ports of a cluster, and the address by which it reaches this host."""

    address: str
    host_address: str
    ports: Ports


def node_address(record: Record, node: int) -> str:
    """The address of a real node, counted from 1. The first node shares the address of the control plane."""
    return str(ip_address(record.address) + node - 1)


def pod_subnet(record: Record, node: int) -> str:
    """The /24 of a real node's pods."""
    network = IPv4Network(record.pod_cidr)
    return f"{network.network_address + 256 * node}/24"


def cidrs(index: int) -> tuple[str, str]:
    """The pod and Service ranges of a cluster: distinct within a state directory, outside the subnets of the switches.

    Pods get a /16, enough for a /24 on each of 255 nodes. Ranges that the host uses are skipped.
    """
    in_use = networks_in_use()
    pods = [one for one in IPv4Network("10.0.0.0/8").subnets(new_prefix=16) if 0 < int(str(one).split(".")[1]) < 200]
    free = [one for one in pods if not any(one.overlaps(other) for other in in_use)]
    services = list(IPv4Network("10.248.0.0/13").subnets(new_prefix=21))
    if index >= min(len(free), len(services)):
        raise LocalkubeError(f"a state directory has addresses for at most {index} clusters; set LOCALKUBE_STATE")
    return str(free[index]), str(services[index])


def networks_in_use() -> list[IPv4Network]:
    """The destinations in the routing tables of the host, without default routes."""
    routes = json.loads(processes.run("ip", "-j", "-4", "route", "show", "table", "all"))
    return [IPv4Network(route["dst"], strict=False) for route in routes if route["dst"] != "default"]


def free_subnet(seed: int) -> IPv4Network:
    """A /20 that overlaps no route of this machine. `seed` spreads the state directories over the range."""
    candidates = [IPv4Network(f"10.{200 + high}.{16 * low}.0/20") for high in range(48) for low in range(16)]
    in_use = networks_in_use()
    for offset in range(len(candidates)):
        candidate = candidates[(seed + offset) % len(candidates)]
        if not any(candidate.overlaps(other) for other in in_use):
            return candidate
    raise LocalkubeError("no free subnet in 10.200.0.0 to 10.247.255.255; remove other clusters")


@contextmanager
def machine_lock() -> Iterator[None]:
    """Hold it while choosing and configuring a subnet, so that two checkouts never choose the same one."""
    with Path("/run/localkube.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
