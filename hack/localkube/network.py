"""The networks of clusters: for root, a network namespace each; otherwise ports on the loopback interface."""

from __future__ import annotations

import os
import random
import socket
from pathlib import Path
from typing import Protocol

from .addresses import Place
from .bridge import BridgedNetwork
from .errors import LocalkubeError
from .state import Ports, Record, State


class Network(Protocol):
    """What clusters need from a network. Both kinds are stateless: they look up what exists."""

    isolated: bool

    def place(self, index: int) -> Place:
        """Chooses the addresses and ports of the cluster with this index."""
        ...

    def attach(self, record: Record) -> None:
        """Creates the network of a cluster. What exists stays as it is; a cut link is healed."""
        ...

    def enter(self, cluster: str, node: int = 1) -> list[str]:
        """The command prefix that runs a program in the network of a cluster's node."""
        ...

    def set_cut(self, record: Record, cut: bool) -> None:
        """Starts or stops dropping all IP traffic between a cluster and the rest, silently."""
        ...

    def is_cut(self, record: Record) -> bool: ...

    def is_attached(self, record: Record) -> bool:
        """Whether the network that `attach` created for the cluster still exists."""
        ...

    def route(self, record: Record, to: Record) -> None:
        """Makes the pods of cluster `to` reachable from the nodes of a cluster (without nodes: its control plane)."""
        ...

    def remove(self) -> None:
        """Removes what the clusters share. Call it after the last cluster has been removed."""
        ...


class LoopbackNetwork:
    """Control planes on 127.0.0.1, each with its own ports."""

    isolated = False

    def place(self, index: int) -> Place:
        free = [port for port in random.sample(_ports_of(index), 50) if _is_free(port)]
        if len(free) < 5:
            raise LocalkubeError("too few free ports on 127.0.0.1; remove other clusters")
        return Place("127.0.0.1", "127.0.0.1", Ports(*free[:5]))

    def attach(self, record: Record) -> None:
        """Does nothing: the loopback interface exists."""

    def enter(self, cluster: str, node: int = 1) -> list[str]:
        return []

    def set_cut(self, record: Record, cut: bool) -> None:
        raise LocalkubeError(
            f"cluster {record.spec.name} shares the host's loopback and has no link to cut; start it as root"
        )

    def is_cut(self, record: Record) -> bool:
        return False

    def route(self, record: Record, to: Record) -> None:
        raise LocalkubeError(f"pods of cluster {to.spec.name} have no addresses that can be routed; start it as root")

    def is_attached(self, record: Record) -> bool:
        return True

    def remove(self) -> None:
        """Does nothing: there is nothing to remove."""


def choose_network(state: State) -> BridgedNetwork | LoopbackNetwork:
    """Namespaces for root, the loopback interface for other users."""
    return BridgedNetwork(state) if os.geteuid() == 0 else LoopbackNetwork()


def network_of(state: State, record: Record) -> BridgedNetwork | LoopbackNetwork:
    """The network that a cluster was created with."""
    return BridgedNetwork(state) if record.isolated else LoopbackNetwork()


def _ports_of(index: int) -> range:
    """Candidates for a cluster: not those of clusters with adjacent indexes, and none that the kernel assigns.

    The kernel could assign such a port to a connection before the server of the cluster listens.
    """
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    return range(10_000, lowest if lowest > 20_000 else 65_536)[index % 16 :: 16]


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
