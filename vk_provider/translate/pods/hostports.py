"""Host ports of a virtual node: one pod for each, as on any node.

The parent's scheduler sees to it for the pods that it binds; a kubelet, for those that are bound without it.
(https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#nodename)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod, pod_phase
from vk_provider.translate.pods.decide import TERMINAL, Fail

_MENTION: Final = b'"hostPort"'
_EVERY_ADDRESS: Final = frozenset({"", "0.0.0.0", "::"})


class _Port(msgspec.Struct, rename="camel", frozen=True):
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")
    protocol: str = "TCP"

    def clashes(self, other: _Port) -> bool:
        """Whether both cannot be had: the same port of the same address, or of all."""
        return (self.host_port, self.protocol) == (other.host_port, other.protocol) and (
            self.host_ip == other.host_ip or not _EVERY_ADDRESS.isdisjoint((self.host_ip, other.host_ip))
        )


class _Container(msgspec.Struct, rename="camel"):
    ports: list[_Port] = []
    restart_policy: str = ""


class _Spec(msgspec.Struct, rename="camel"):
    containers: list[_Container] = []
    init_containers: list[_Container] = []


_spec = msgspec.json.Decoder(_Spec)


def host_port_clash(pod: Pod, others: Iterable[Pod]) -> Fail | None:
    """Why a pod of a virtual node is not admitted; None where it may have the ports that it asks for.

    `others`: the pods of the node. Those that were let in come first, then older ones; times are in whole seconds, and
    pods of one second are told apart by chance. Those that have ended need no port any more.
    """
    wanted = list(_host_ports(pod))
    if not wanted:
        return None
    for other in others:
        phase = pod_phase(other)
        first = _age(other) < _age(pod) or (other is not pod and phase.has(wellknown.CREATED_CONDITION))
        if first and phase.phase not in TERMINAL:
            for port in _host_ports(other):
                if any(port.clashes(mine) for mine in wanted):
                    message = f"host port {port.host_port}/{port.protocol} is taken by pod {other.metadata.key}"
                    return Fail("NodePorts", message, rejected=True)
    return None


def _age(pod: Pod) -> tuple[str, str]:
    return pod.metadata.creation_timestamp or "", pod.metadata.uid


def _host_ports(pod: Pod) -> Iterator[_Port]:
    """Of all containers that run for the life of the pod, sidecars among them."""
    if _MENTION not in bytes(pod.spec):
        return
    spec = _spec.decode(pod.spec)
    sidecars = (container for container in spec.init_containers if container.restart_policy == "Always")
    for container in (*spec.containers, *sidecars):
        yield from (port for port in container.ports if port.host_port)
