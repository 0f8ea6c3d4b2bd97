"""metrics-server beside a control plane, so that `kubectl top` works also where there are no nodes to run it on."""

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
"""Under which the API server knows it."""

_MANIFESTS = Path(__file__).resolve().parent / "manifests" / "metrics-server.yaml"
_PORT = 4443
_RESOLUTION = "10s"  # the shortest that it takes
_TIMEOUT = "9s"  # it insists on a shorter one


def start(services: Services, record: Record, directory: ClusterDirectory, binaries: Path) -> None:
    """Returns when it listens; its first figures need two rounds, and so 20 seconds."""
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
    services.wait("metrics-server", "metrics-server listens", lambda: _listens(record.address))


def register(api: Api, record: Record, directory: ClusterDirectory) -> None:
    """Makes metrics.k8s.io an API of the cluster."""
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
