"""Runs the real kubectl in one cluster."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

import localkube

from tests.cluster import Cluster

CHECKOUT: Final = Path(__file__).resolve().parents[1]


def kubectl(cluster: Cluster, *args: str) -> subprocess.CompletedProcess[str]:
    """The exit code and output of kubectl, within two minutes."""
    program = localkube.program("kubectl", root=cluster.root)
    command = [str(program), "--kubeconfig", str(cluster.kubeconfig), *args]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, timeout=120)


def done(cluster: Cluster, *args: str) -> str:
    """The stdout of a successful kubectl."""
    result = kubectl(cluster, *args)
    assert result.returncode == 0, result.stderr
    return result.stdout
