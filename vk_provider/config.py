"""Settings of the process. Settings of a member are in its MemberCluster."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Settings:
    """Fixed at start. `workers` is the number of pods of one virtual node that are reconciled concurrently."""

    workers: int = 32
    kubelet_address: str = ""  # where the kubelet API listens; empty: the local address that reaches the parent
