"""etcd, the API server, the controller-manager and the scheduler of one cluster."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

from .api import Api
from .services import Service, Services
from .spec import ClusterSpec, Kind
from .state import ClusterDirectory, Record, write_atomically

# All stages but RequestReceived: the log has one line per request, which is what the bench counts.
_AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata"}],
}
# With one replica each, a leader election only delays the start. The default client limits would be the bottleneck.
_CONTROLLER_FLAGS = ("--leader-elect=false", "--bind-address=127.0.0.1", "--kube-api-qps=1000", "--kube-api-burst=2000")
_SMALLEST_NODE_MASK = 30
_SYSTEM_NAMESPACE = "/api/v1/namespaces/kube-system"


def start_storage_and_api(services: Services, record: Record, directory: ClusterDirectory, binaries: Path) -> None:
    """Starts etcd and the API server. Does not wait: the API server waits for etcd."""
    services.start(_etcd(record, directory, binaries))
    services.start(_apiserver(record, directory, binaries))


def wait_for_api(services: Services, api: Api) -> None:
    """Waits until the API server is ready and has the namespace of the first objects."""
    services.wait("apiserver", "the API server", lambda: api.is_ready() and api.has(_SYSTEM_NAMESPACE))


def start_controllers(services: Services, record: Record, directory: ClusterDirectory, binaries: Path) -> None:
    """Starts the controllers. Call `wait_for_api` first: they exit if no API server answers."""
    services.start(_controller_manager(record, directory, binaries))
    services.start(_scheduler(record, directory, binaries))


def _etcd(record: Record, directory: ClusterDirectory, binaries: Path) -> Service:
    client = f"http://127.0.0.1:{record.ports.etcd}"
    peer = f"http://127.0.0.1:{record.ports.etcd_peer}"
    return Service(
        "etcd",
        (
            str(binaries / "etcd"),
            "--name=localkube",
            f"--data-dir={directory.path / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=localkube={peer}",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ),
    )


def _apiserver(record: Record, directory: ClusterDirectory, binaries: Path) -> Service:
    pki = directory.pki
    flags = [
        f"--etcd-servers=http://127.0.0.1:{record.ports.etcd}",
        f"--secure-port={record.ports.apiserver}",
        f"--advertise-address={record.address}",
        f"--service-cluster-ip-range={record.service_cidr}",
        "--allow-privileged",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        f"--client-ca-file={pki}/ca.crt",
        f"--tls-cert-file={pki}/apiserver.crt",
        f"--tls-private-key-file={pki}/apiserver.key",
        f"--kubelet-client-certificate={pki}/apiserver-kubelet-client.crt",
        f"--kubelet-client-key={pki}/apiserver-kubelet-client.key",
        f"--kubelet-certificate-authority={pki}/ca.crt",
        "--kubelet-preferred-address-types=InternalIP,Hostname",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki}/service-account.pub",
        f"--service-account-signing-key-file={pki}/service-account.key",
        f"--requestheader-client-ca-file={pki}/front-proxy-ca.crt",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={pki}/front-proxy.crt",
        f"--proxy-client-key-file={pki}/front-proxy.key",
    ]
    if record.spec.metrics:
        # The control plane may have no kube-proxy that routes the Service's address.
        flags.append("--enable-aggregator-routing")
    if not record.isolated:
        # The endpoint of the Service "kubernetes" must not be a loopback address. Without nodes, no pod needs it.
        flags += ["--endpoint-reconciler-type=none", "--bind-address=127.0.0.1"]
    if record.audit:
        policy = directory.path / "audit-policy.json"
        write_atomically(policy, json.dumps(_AUDIT_POLICY))
        # No rotation (the size is in MiB): programs that count requests read one file.
        flags += [
            f"--audit-policy-file={policy}",
            f"--audit-log-path={directory.audit_log}",
            "--audit-log-maxsize=1000000",
        ]
    return Service("apiserver", (str(binaries / "kube-apiserver"), *flags))


def _controller_manager(record: Record, directory: ClusterDirectory, binaries: Path) -> Service:
    pki = directory.pki
    kubeconfig = pki / "controller-manager.kubeconfig"
    return Service(
        "controller-manager",
        (
            str(binaries / "kube-controller-manager"),
            *_CONTROLLER_FLAGS,
            f"--secure-port={record.ports.controller_manager}",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--service-account-private-key-file={pki}/service-account.key",
            f"--root-ca-file={pki}/ca.crt",
            f"--cluster-signing-cert-file={pki}/ca.crt",
            f"--cluster-signing-key-file={pki}/ca.key",
            "--use-service-account-credentials",
            "--allocate-node-cidrs",
            f"--cluster-cidr={record.pod_cidr}",
            f"--node-cidr-mask-size={node_mask(record.spec, record.pod_cidr)}",
            f"--service-cluster-ip-range={record.service_cidr}",
        ),
    )


def _scheduler(record: Record, directory: ClusterDirectory, binaries: Path) -> Service:
    kubeconfig = directory.pki / "scheduler.kubeconfig"
    return Service(
        "scheduler",
        (
            str(binaries / "kube-scheduler"),
            *_CONTROLLER_FLAGS,
            f"--secure-port={record.ports.scheduler}",
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
        ),
    )


def node_mask(spec: ClusterSpec, pod_cidr: str) -> int:
    """The prefix length of a node's pod range: /24, or longer if there are too many fake nodes for that.

    A quarter of the ranges stays free for virtual nodes.
    """
    mask = 24
    if spec.kind is Kind.FAKE:
        prefix = ipaddress.IPv4Network(pod_cidr).prefixlen
        while mask < _SMALLEST_NODE_MASK and spec.nodes > 3 * 2 ** (mask - prefix - 2):
            mask += 1
    return mask
