"""metrics-server as a process next to the control plane, so that `kubectl top` works in clusters without nodes too."""

from __future__ import annotations

import base64
import socket
from pathlib import Path
from string import Template

import yaml

from .api import Api, collection_path
from .services import Service, Services
from .state import ClusterDirectory, Record

HOST = "metrics-server.kube-system.svc"
"""The host name by which the API server calls it."""

_MANIFESTS = Path(__file__).resolve().parent / "manifests" / "metrics-server.yaml"
_PORT = 4443
_RESOLUTION = "10s"  # the minimum that metrics-server accepts
_TIMEOUT = "9s"  # must be shorter than the resolution


def start(services: Services, record: Record, directory: ClusterDirectory, binaries: Path) -> None:
    """Starts it, and returns when it listens. The first metrics need two rounds, which take 20 s."""
    pki = directory.pki
    kubeconfig = pki / "metrics-server.kubeconfig"
    services.start(
        Service(
            "metrics-server",
            (
                str(binaries / "metrics-server"),
                f"--secure-port={_PORT}",
                f"--bind-address={record.address}",
                f"--tls-cert-file={pki}/metrics-server.crt",
                f"--tls-private-key-file={pki}/metrics-server.key",
                f"--kubeconfig={kubeconfig}",
                f"--authentication-kubeconfig={kubeconfig}",
                f"--authorization-kubeconfig={kubeconfig}",
                "--kubelet-use-node-status-port",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-certificate-authority={pki}/ca.crt",
                f"--metric-resolution={_RESOLUTION}",
                f"--kubelet-request-timeout={_TIMEOUT}",
            ),
        )
    )
    services.wait("metrics-server", "metrics-server to listen", lambda: _listens(record.address))


def register(api: Api, record: Record, directory: ClusterDirectory) -> None:
    """Registers metrics.k8s.io as an API of the cluster."""
    ca = base64.b64encode((directory.pki / "ca.crt").read_bytes()).decode()
    values = {"address": record.address, "port": str(_PORT), "ca": ca}
    for manifest in yaml.safe_load_all(Template(_MANIFESTS.read_text()).substitute(values)):
        api.create(collection_path(manifest), manifest)


def _listens(address: str) -> bool:
    try:
        socket.create_connection((address, _PORT), timeout=1).close()
    except OSError:
        return False
    return True
