"""The port of one virtual node: any free one, or one of a range, which the node keeps over restarts."""

from __future__ import annotations

import errno
import logging
import socket
from typing import Final

import msgspec

from vk_provider.config import KubeletSettings
from vk_provider.errors import ConfigError, NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata
from vk_provider.kube.resources import NODES
from vk_provider.translate.kubelet.ports import candidates

log = logging.getLogger(__name__)

_BACKLOG: Final = 128
_VIRTUAL_NODES: Final = "type=virtual-kubelet"


class _Endpoint(msgspec.Struct):
    port: int = msgspec.field(name="Port", default=0)


class _Endpoints(msgspec.Struct, rename="camel"):
    kubelet_endpoint: _Endpoint = msgspec.field(default_factory=_Endpoint)


class _Address(msgspec.Struct):
    address: str = ""


class _Status(msgspec.Struct, rename="camel"):
    daemon_endpoints: _Endpoints = msgspec.field(default_factory=_Endpoints)
    addresses: list[_Address] = []


class _Node(msgspec.Struct):
    metadata: Metadata
    status: _Status = msgspec.field(default_factory=_Status)

    def port_at(self, address: str) -> int:
        """The port of its kubelet API at that address; 0 if there is none."""
        if all(each.address != address for each in self.status.addresses):
            return 0
        return self.status.daemon_endpoints.kubelet_endpoint.port


class Port:
    """See the module's text."""

    def __init__(self, parent: Client, node: str, settings: KubeletSettings) -> None:
        self._parent, self._node, self._settings = parent, node, settings
        self._published = 0
        self._of_others: set[int] = set()

    async def recall(self) -> None:
        """Learns which ports the Nodes publish. Call it before the status of the Node is written."""
        if self._settings.ports is None:
            return
        try:
            await self._recall(self._settings.address)
        except VkError as error:
            log.warning("ports of other nodes not known", extra={"node": self._node, "error": str(error)})

    async def _recall(self, address: str) -> None:
        try:
            own = await self._parent.get(NODES, self._node, type=_Node)
            self._published = own.port_at(address)
        except NotFoundError:
            pass
        if self._settings.ports is not None and self._published not in self._settings.ports:
            nodes = await self._parent.list(NODES, type=_Node, query={"labelSelector": _VIRTUAL_NODES})
            self._of_others = {node.port_at(address) for node in nodes if node.metadata.name != self._node}

    def bind(self) -> socket.socket:
        """A listening socket, which does not block. Raises ConfigError."""
        address, ports = self._settings.bind or self._settings.address, self._settings.ports
        if ports is None:
            return _listen(address, 0)
        for port in candidates(self._node, ports, published=self._published, of_others=self._of_others):
            try:
                found = _listen(address, port)
            except _PortTakenError:
                continue
            self._published = port
            return found
        raise ConfigError(f"no port of {ports} is free at {address}", remedy="choose other --kubelet-ports")


class _PortTakenError(ConfigError):
    """Another socket listens there."""


def check(address: str) -> None:
    """Raises ConfigError if nothing can listen at that address of this machine."""
    _listen(address, 0).close()


def _listen(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setblocking(False)
        listening.bind((address, port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRNOTAVAIL:
            remedy = "give an address of this machine with --kubelet-bind, for example 0.0.0.0"
            raise ConfigError(f"{address} is not an address of this machine", remedy=remedy) from error
        kind = _PortTakenError if error.errno == errno.EADDRINUSE else ConfigError
        raise kind(f"cannot listen at {address} port {port}: {error.strerror}") from error
    return listening
