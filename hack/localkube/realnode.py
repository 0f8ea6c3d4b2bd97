"""Real nodes: machines made of namespaces, in which containerd, a kubelet and kube-proxy run.

A node has its own mount, uts and pid namespaces, and private directories under the standard paths. Its first process
is `pause`: killing it ends all processes of the node, including containers, and removes all mounts of the node.
Programs and the state directory are those of the host.
"""

from __future__ import annotations

import ipaddress
import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import yaml

from . import cgroups, images, processes, registry
from .addresses import node_address, pod_subnet
from .api import Api
from .errors import LocalkubeError
from .network import network_of
from .services import Service, Services, enter_node, node_service
from .state import Record, State

# Folders of the state directory that replace those of the host.
_PRIVATE = {
    "kubelet": "/var/lib/kubelet",
    "containerd": "/var/lib/containerd",
    "cni-state": "/var/lib/cni",
    "cni-config": "/etc/cni/net.d",
    "pod-logs": "/var/log/pods",
    "container-logs": "/var/log/containers",
}
_CNI_PROGRAMS = ("/usr/lib/cni", "/opt/cni/bin")
# All nodes share the limit of the host; containerd, the kubelet and some pods need dozens each.
_INOTIFY_INSTANCES = 1024
# Near the ports of the control plane, outside the range that pods with hostPort use.
_REGISTRY_PORT = 10240


class RealNode:
    """A real node. `number` counts from 1. Every step is idempotent and does only what is missing."""

    def __init__(self, state: State, record: Record, services: Services, number: int) -> None:
        self._state, self._record, self._services, self._number = state, record, services, number
        self.name = f"{record.spec.name}-{number}"
        self._address = node_address(record, number)
        self._pods = pod_subnet(record, number)
        self._directory = state.directory(record.spec.name).node(self.name)
        self._pki = state.directory(record.spec.name).pki
        self._cgroup = f"{cgroup_prefix(state, record.spec.name)}{number}"
        self._binaries = state.root / "bin"

    def start_runtime(self, archive: Path, step: Callable[[str], None]) -> None:
        """Starts containerd and imports all images. Needs no API server."""
        self._start_init()
        self._write("cni-config/10-pods.conflist", json.dumps(self._cni_config()))
        self._write("registries/_default/hosts.toml", self._registry_config())
        config = self._write("containerd.toml", self._containerd_config())
        self._services.start(
            Service(self._service("containerd"), ("containerd", "--config", str(config)), self._number)
        )
        self._services.wait(self._service("containerd"), "containerd to answer", self._runtime_answers, seconds=30)
        step("importing images")
        self._run("ctr", "--namespace", "k8s.io", "images", "import", str(archive))

    def register(self, api: Api) -> None:
        """Creates the Node object before the kubelet does, with the pod range that the routes between nodes use."""
        api.create(
            "/api/v1/nodes",
            {
                "apiVersion": "v1",
                "kind": "Node",
                "metadata": {"name": self.name},
                "spec": {"podCIDR": self._pods, "podCIDRs": [self._pods]},
            },
        )

    def start_agents(self) -> None:
        """Starts the kubelet and kube-proxy."""
        kubelet = self._write("kubelet.yaml", yaml.safe_dump(self._kubelet_config()))
        self._services.start(
            Service(
                self._service("kubelet"),
                (
                    str(self._binaries / "kubelet"),
                    f"--config={kubelet}",
                    f"--kubeconfig={self._pki}/kubelet-{self._number}.kubeconfig",
                    f"--hostname-override={self.name}",
                    f"--node-ip={self._address}",
                    f"--cert-dir={self._directory / 'kubelet-pki'}",
                ),
                self._number,
            )
        )
        proxy = self._write("kube-proxy.yaml", yaml.safe_dump(self._proxy_config()))
        argv = (str(self._binaries / "kube-proxy"), f"--config={proxy}")
        self._services.start(Service(self._service("kube-proxy"), argv, self._number))

    def _start_init(self) -> None:
        """Creates the namespaces and their first process, unless they exist."""
        cluster = self._record.spec.name
        owner = processes.mark(self._state.ident, cluster, node_service(self._number))
        if self._init_runs():
            return
        _raise_inotify_limit()
        cgroups.create(self._cgroup)
        for folder in _PRIVATE:
            (self._directory / folder).mkdir(parents=True, exist_ok=True)
        self._write("resolv.conf", "")  # no upstream DNS: lookups of names outside the cluster fail at once
        self._write("hosts", f"127.0.0.1 localhost\n{self._address} {self.name}\n")
        script = self._write("init.sh", self._init_script())
        namespaces = ("--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation=private")
        enter = network_of(self._state, self._record).enter(cluster, self._number)
        log = self._services.log(node_service(self._number))
        processes.spawn(owner, [*enter, "unshare", *namespaces, "bash", str(script)], log)
        processes.wait_until(self._init_runs, f"node {self.name} does not start; see {log}")

    def _init_runs(self) -> bool:
        found = processes.find(self._state.ident, self._record.spec.name, node_service(self._number))
        return any(process.program == "pause" for process in found)

    def _init_script(self) -> str:
        """A script that executes `pause` last: once `pause` runs, the mounts are complete."""

        def bind(folder: str, place: str) -> str:
            return f"mount --bind {shlex.quote(str(self._directory / folder))} {place}"

        return "\n".join(
            [
                "set -e",
                f"hostname {self.name}",
                "mount -t tmpfs -o mode=755,size=256m tmpfs /run",
                "mkdir -p /run/netns /run/lock",
                *(f"mkdir -p {place}; {bind(folder, place)}" for folder, place in _PRIVATE.items()),
                # A link into /run dangles now, which also leaves the node without upstream DNS.
                f"[ -L /etc/resolv.conf ] || {bind('resolv.conf', '/etc/resolv.conf')}",
                bind("hosts", "/etc/hosts"),
                "mount --make-rshared /",
                f"exec {shlex.quote(str(self._binaries / 'pause'))}",
                "",
            ]
        )

    def _cni_config(self) -> dict[str, object]:
        """Connects pods to a bridge. A rule of the network masquerades traffic that leaves the cluster."""
        bridge = {
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": True,
            "hairpinMode": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": self._pods}]], "routes": [{"dst": "0.0.0.0/0"}]},
        }
        ports = {"type": "portmap", "capabilities": {"portMappings": True}}
        return {"cniVersion": "0.4.0", "name": "pods", "plugins": [bridge, ports]}

    def _registry_config(self) -> str:
        url = f"http://{self._record.address}:{_REGISTRY_PORT}"
        return f'server = "{url}"\n[host."{url}"]\n  capabilities = ["pull", "resolve"]\n'

    def _containerd_config(self) -> str:
        """The OOM settings allow a start without CAP_SYS_RESOURCE, which a process needs to lower its OOM score."""
        programs = next((place for place in _CNI_PROGRAMS if Path(place, "bridge").exists()), _CNI_PROGRAMS[0])
        return f"""version = 2
oom_score = 0
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "{images.PAUSE}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{programs}"
    conf_dir = "{_PRIVATE["cni-config"]}"
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "{self._directory / "registries"}"
"""

    def _kubelet_config(self) -> dict[str, object]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "containerLogMaxSize": "1Gi",  # a reader that falls behind a rotation loses lines
            "kind": "KubeletConfiguration",
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": f"{self._pki}/ca.crt"},
            },
            "authorization": {"mode": "Webhook"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self._cgroup}",
            "clusterDNS": [dns_address(self._record)],
            "clusterDomain": "cluster.local",
            "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "enforceNodeAllocatable": ["pods"],
            # The disk belongs to the host: a full disk must not evict pods of a test cluster.
            "evictionHard": {},
            "imageGCHighThresholdPercent": 100,
            "failCgroupV1": False,
            "failSwapOn": False,
            "kubeAPIQPS": 100,
            "kubeAPIBurst": 200,
            "maxOpenFiles": 20000,
            "nodeStatusUpdateFrequency": "5s",
            "oomScoreAdj": 0,
            "resolvConf": str(self._directory / "resolv.conf"),
            "tlsCertFile": f"{self._pki}/kubelet-{self._number}.crt",
            "tlsPrivateKeyFile": f"{self._pki}/kubelet-{self._number}.key",
        }

    def _proxy_config(self) -> dict[str, object]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": f"{self._pki}/kube-proxy.kubeconfig"},
            "clusterCIDR": self._record.pod_cidr,
            "detectLocalMode": "ClusterCIDR",
            "hostnameOverride": self.name,
            "oomScoreAdj": 0,
            # These sysctls belong to the host, not to the namespace: do not change them.
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }

    def _runtime_answers(self) -> bool:
        try:
            self._run("ctr", "version")
        except LocalkubeError:
            return False
        return True

    def _run(self, *argv: str) -> str:
        return processes.run(*enter_node(self._state, self._record.spec.name, self._number), *argv)

    def _service(self, program: str) -> str:
        return program if self._number == 1 else f"{program}-{self._number}"

    def _write(self, file: str, text: str) -> Path:
        path = self._directory / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path


def start_registry(services: Services, record: Record, archive: Path) -> None:
    """Starts the registry that the nodes of a cluster ask for missing images and for `imagePullPolicy: Always`."""
    program = Path(registry.__file__)
    argv = (sys.executable, str(program), str(archive), record.address, str(_REGISTRY_PORT))
    services.start(Service("registry", argv))


def cgroup_prefix(state: State, cluster: str = "") -> str:
    """The name prefix of the control groups of a state directory's nodes, or of one cluster's nodes.

    It ends with a dot, which no cluster name contains.
    """
    return f"lk{state.ident}.{cluster}." if cluster else f"lk{state.ident}."


def dns_address(record: Record) -> str:
    """The tenth Service address, as is usual."""
    return str(ipaddress.IPv4Network(record.service_cidr)[10])


def _raise_inotify_limit() -> None:
    limit = Path("/proc/sys/fs/inotify/max_user_instances")
    if int(limit.read_text()) < _INOTIFY_INSTANCES:
        limit.write_text(str(_INOTIFY_INSTANCES))
