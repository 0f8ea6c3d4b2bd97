"""The network of clusters that root starts: a network namespace for each, joined by a switch.

    host namespace        switch namespace           cluster namespace
    lkIDENT 10.x.y.1 ---- host | br0 | c1 ---------- uplink | eth0 (bridge, the cluster's address) | node2 ... nodeN
                               |     | c2 ---------- ...

A namespace exists exactly as long as the process that holds it, without mounts and names. Killing the holder removes
the interfaces too, so nothing is left behind. The switch has its own namespace, so that firewall rules of the host
(Docker's, for example) do not affect traffic between clusters.
"""

from __future__ import annotations

import json
from ipaddress import IPv4Network, ip_address
from pathlib import Path

from . import processes
from .addresses import PER_CLUSTER, Place, free_subnet, machine_lock, node_address, pod_subnet
from .errors import LocalkubeError
from .spec import Kind
from .state import Ports, Record, State

_SWITCH = ""  # the cluster in the mark of the switch's holder; no cluster can have this name
_CUT_RULES = """
table bridge localkube {
  set cut { type ifname; }
  chain forward {
    type filter hook forward priority 0;
    ether type { ip, ip6 } iifname @cut drop
    ether type { ip, ip6 } oifname @cut drop
  }
}
"""
_MASQUERADE = """
table ip localkube {
  chain postrouting {
    type nat hook postrouting priority 100;
    ip saddr %(pods)s ip daddr != %(pods)s masquerade
  }
}
"""


class BridgedNetwork:
    """Network namespaces joined by a switch; needs root."""

    isolated = True

    def __init__(self, state: State) -> None:
        self._ident = state.ident
        self._interface = f"lk{state.ident}"

    def place(self, index: int) -> Place:
        subnet = self._subnet() or self._make_switch()
        return Place(str(subnet[PER_CLUSTER * (index + 1)]), str(subnet[1]), Ports())

    def attach(self, record: Record) -> None:
        name = record.spec.name
        self.set_cut(record, False)
        if self.is_attached(record):
            return
        subnet = self._subnet()
        if subnet is None:
            raise LocalkubeError(f"interface {self._interface} no longer exists; run: localkube down, then up again")
        real = _real_nodes(record)
        holder = self._hold(name, 1)
        port = f"c{record.index}"
        if port in self._ports():  # of a namespace that the kernel is still removing
            _ip(self._switch(), f"link delete {port}")
        _ip(
            self._switch(),
            f"link add {port} type veth peer name uplink netns {holder}",
            f"link set {port} master br0 up",
        )
        _ip(holder, "link add eth0 type bridge", "link set uplink master eth0 up")
        for node in range(1, max(real, 1) + 1):
            if node > 1:
                self._wire_node(holder, node, self._hold(name, node))
            self._configure(record, node, subnet.prefixlen, real)

    @staticmethod
    def _wire_node(holder: int, node: int, node_holder: int) -> None:
        _ip(
            holder,
            f"link add node{node} type veth peer name eth0 netns {node_holder}",
            f"link set node{node} master eth0 up",
        )

    def _configure(self, record: Record, node: int, prefix: int, real: int) -> None:
        """Configures addresses, the default route and, for real nodes, routes to the pods of the other nodes."""
        holder = self._holder(record.spec.name, node)
        others = [other for other in range(1, real + 1) if other != node]
        _ip(
            holder,
            "link set lo up",
            f"addr add {node_address(record, node)}/{prefix} dev eth0",
            "link set eth0 up",
            f"route add default via {record.host_address}",
            *(f"route add {pod_subnet(record, other)} via {node_address(record, other)}" for other in others),
        )
        if real:
            processes.run(*_inside(holder), "nft", "-f", "-", stdin=_MASQUERADE % {"pods": record.pod_cidr})

    def enter(self, cluster: str, node: int = 1) -> list[str]:
        return _inside(self._holder(cluster, node))

    def route(self, record: Record, to: Record) -> None:
        for node in range(1, max(1, _real_nodes(record)) + 1):
            _ip(
                self._holder(record.spec.name, node),
                *(
                    f"route replace {pod_subnet(to, other)} via {node_address(to, other)}"
                    for other in range(1, _real_nodes(to) + 1)
                ),
            )

    def set_cut(self, record: Record, cut: bool) -> None:
        if cut == self.is_cut(record):
            return
        verb = "add" if cut else "delete"
        element = f'{{ "c{record.index}" }}'
        processes.run(*_inside(self._switch()), "nft", verb, "element", "bridge", "localkube", "cut", element)

    def is_cut(self, record: Record) -> bool:
        command = ["nft", "-j", "list", "set", "bridge", "localkube", "cut"]
        listed = json.loads(processes.run(*_inside(self._switch()), *command))
        sets = [entry["set"] for entry in listed["nftables"] if "set" in entry]
        return any(f"c{record.index}" in one.get("elem", []) for one in sets)

    def is_attached(self, record: Record) -> bool:
        subnet = self._subnet()
        if subnet is None or ip_address(record.address) not in subnet:
            return False
        nodes = range(1, max(1, record.spec.nodes if record.spec.kind is Kind.REAL else 1) + 1)
        if not all(self._find(record.spec.name, node) for node in nodes):
            return False
        return f"c{record.index}" in self._ports()

    def remove(self) -> None:
        processes.kill(lambda: processes.find(self._ident, _SWITCH))
        # The kernel removes a namespace a moment after its last process has ended.
        processes.wait_until(
            lambda: not Path("/sys/class/net", self._interface).exists(),
            f"interface {self._interface} still exists; remove it with: ip link delete {self._interface}",
        )

    def _switch(self) -> int:
        return self._holder(_SWITCH, 1)

    def _ports(self) -> list[str]:
        links = json.loads(processes.run(*_inside(self._switch()), "ip", "-j", "link", "show"))
        return [link["ifname"] for link in links]

    def _subnet(self) -> IPv4Network | None:
        """The subnet of this state directory's switch, read from the interface; None if there is no switch."""
        if not Path("/sys/class/net", self._interface).exists():
            return None
        listed = json.loads(processes.run("ip", "-j", "-4", "address", "show", "dev", self._interface))
        addresses = [info for link in listed for info in link.get("addr_info", [])]
        if not addresses:
            return None
        return IPv4Network(f"{addresses[0]['local']}/{addresses[0]['prefixlen']}", strict=False)

    def _make_switch(self) -> IPv4Network:
        self.remove()  # a crash may have left a holder without an interface that has an address
        with machine_lock():
            subnet = free_subnet(int(self._ident, 16))
            holder = self._hold(_SWITCH, 1)
            _ip(holder, "link set lo up", "link add br0 type bridge", "link set br0 up")
            processes.run(*_inside(holder), "nft", "-f", "-", stdin=_CUT_RULES)
            processes.run(
                "ip", "link", "add", self._interface, "type", "veth", "peer", "name", "host", "netns", str(holder)
            )
            _ip(holder, "link set host master br0 up")
            processes.run("ip", "link", "set", self._interface, "up")
            processes.run("ip", "address", "add", f"{subnet[1]}/{subnet.prefixlen}", "dev", self._interface)
        return subnet

    def _hold(self, cluster: str, node: int) -> int:
        service = _holder_name(node)
        owner = processes.mark(self._ident, cluster, service)
        processes.spawn(owner, ["unshare", "--net", "sleep", "infinity"], Path("/dev/null"))
        processes.wait_until(
            lambda: any(
                process.program != "setsid" and process.program != "unshare" for process in self._find(cluster, node)
            ),
            f"cluster {cluster}: cannot create a network namespace; does `unshare --net true` work here?",
        )
        return self._holder(cluster, node)

    def _holder(self, cluster: str, node: int) -> int:
        found = self._find(cluster, node)
        if not found:
            what = f"cluster {cluster}" if cluster else "the switch"
            raise LocalkubeError(f"the network of {what} is not up; run: localkube up {cluster}".rstrip())
        return found[0].pid

    def _find(self, cluster: str, node: int) -> list[processes.Process]:
        return processes.find(self._ident, cluster, _holder_name(node))


def _real_nodes(record: Record) -> int:
    return record.spec.nodes if record.spec.kind is Kind.REAL else 0


def _holder_name(node: int) -> str:
    return "network" if node == 1 else f"network-{node}"


def _inside(holder: int) -> list[str]:
    return ["nsenter", f"--net=/proc/{holder}/ns/net", "--"]


def _ip(holder: int, *commands: str) -> None:
    """Runs `ip` commands in the namespace of a holder, all in one process of `ip`."""
    processes.run(*_inside(holder), "ip", "-batch", "-", stdin="\n".join(commands) + "\n")
