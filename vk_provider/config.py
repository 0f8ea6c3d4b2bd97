"""Settings of the process. Settings of a member are in its MemberCluster."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

KUBELET_SERVING: Final = "kubernetes.io/kubelet-serving"


class PortRange(NamedTuple):
    """TCP ports, both ends included."""

    first: int
    last: int

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


class CertificateFiles(NamedTuple):
    """A serving certificate (with its chain) and its private key, PEM."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class KubeletSettings:
    """Where the kubelet API of the virtual nodes is served, and with which certificate."""

    address: str = ""  # that the Nodes publish; empty: the local address that reaches the parent
    bind: str = ""  # where it listens; empty: `address`
    ports: PortRange | None = None  # None: any free port
    signer: str = KUBELET_SERVING  # of the parent, for certificates by CSR
    files: CertificateFiles | None = None  # instead of a certificate by CSR


@dataclass(frozen=True)
class Settings:
    """Fixed at start. `workers` is the number of pods of one virtual node that are reconciled concurrently."""

    workers: int = 32
    kubelet: KubeletSettings = field(default_factory=KubeletSettings)
