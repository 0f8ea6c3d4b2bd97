"""Fake nodes: Node objects that kwok keeps Ready, in any number and size, for scale without containers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .api import Api
from .binaries import ARCHITECTURE, kubernetes_version
from .services import Service, Services
from .state import ClusterDirectory, Record

_STAGES = Path(__file__).resolve().parent / "manifests" / "kwok-stages.yaml"
# kwok manages only nodes with this annotation: a virtual node may join the same cluster.
_ANNOTATION = ("kwok.x-k8s.io/node", "fake")


def start(services: Services, record: Record, directory: ClusterDirectory, binaries: Path) -> None:
    """Starts kwok. Pod addresses come from the whole range of the cluster: a /24 would run out silently at 256 pods."""
    services.start(
        Service(
            "kwok",
            (
                str(binaries / "kwok"),
                f"--kubeconfig={directory.kubeconfig}",
                f"--config={_STAGES}",
                f"--manage-nodes-with-annotation-selector={'='.join(_ANNOTATION)}",
                f"--cidr={record.pod_cidr}",
                f"--node-ip={record.address}",
                "--node-lease-duration-seconds=40",
            ),
        )
    )


def register(api: Api, record: Record) -> None:
    """Creates the Node objects; kwok makes them Ready."""
    api.create_all("/api/v1/nodes", _nodes(record))


def _nodes(record: Record) -> Iterator[dict[str, Any]]:
    spec = record.spec
    size = {"cpu": spec.cpu, "memory": spec.memory, "pods": str(spec.pods), "ephemeral-storage": "1Ti"}
    for number in range(1, spec.nodes + 1):
        name = f"{spec.name}-{number}"
        labels = {"hostname": name, "os": "linux", "arch": ARCHITECTURE}
        yield {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": dict([_ANNOTATION]),
                "labels": {f"kubernetes.io/{key}": value for key, value in labels.items()},
            },
            "status": {
                "capacity": size,
                "allocatable": size,
                "addresses": [
                    {"type": "InternalIP", "address": record.address},
                    {"type": "Hostname", "address": name},
                ],
                "nodeInfo": {
                    "architecture": ARCHITECTURE,
                    "operatingSystem": "linux",
                    "kubeletVersion": kubernetes_version(),
                    "containerRuntimeVersion": "kwok://fake",
                    "osImage": "fake",
                    "kernelVersion": "fake",
                    "kubeProxyVersion": "",
                    "bootID": "",
                    "machineID": "",
                    "systemUUID": "",
                },
            },
        }
