"""Settings of the process. What belongs to one member is in its MemberCluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Frozen at start. `workers` bounds the pods of one member that are worked on at the same time."""

    workers: int = 32
    kubelet_address: str = ""  # where the kubelet API listens; empty: the address that reaches the parent
