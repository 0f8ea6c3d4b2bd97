"""Answers of a member's kubelets about themselves and their pods, in the formats of Kubernetes 1.37."""

from __future__ import annotations

import json
from typing import Any

FOREIGN = ("kube-system", "coredns-7")  # a pod of the member itself, on every node


def resource(*pods: tuple[str, str], cpu: float = 100.0, memory: int = 1_000_000, at: int = 1795479175507) -> bytes:
    """/metrics/resource of a node that runs these pods (namespace, name) and a foreign one. `at`: ms."""
    all_pods = [FOREIGN, *pods]
    return f"""\
# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
{_each(all_pods, 'container_cpu_usage_seconds_total{{container="app",namespace="{}",pod="{}"}} 3.49 {}', at)}
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
{_each(all_pods, 'container_memory_working_set_bytes{{container="app",namespace="{}",pod="{}"}} 946176 {}', at)}
# HELP container_start_time_seconds [STABLE] Start time of the container since unix epoch in seconds
# TYPE container_start_time_seconds gauge
{_each(all_pods, 'container_start_time_seconds{{container="app",namespace="{}",pod="{}"}} 1.7954791567184684e+09')}
# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total {cpu} {at}
# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes {memory} {at}
# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
# TYPE pod_cpu_usage_seconds_total counter
{_each(all_pods, 'pod_cpu_usage_seconds_total{{namespace="{}",pod="{}"}} 5.55 {}', at)}
# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
# TYPE resource_scrape_error gauge
resource_scrape_error 0
""".encode()


def cadvisor(namespace: str, pod: str, machine: str, *, cores: int = 4, cpu: float = 50.0) -> bytes:
    """/metrics/cadvisor of a node that runs one pod."""
    cgroup = "/kubepods.slice/kubepods-pod11.slice"
    names = f'name="0c3c",namespace="{namespace}",pod="{pod}"'
    root = 'container="",cpu="total",id="{}",image="",name="",namespace="",pod=""'
    return f"""\
# HELP cadvisor_version_info A metric with a constant '1' value labeled by kernel version, OS version and others.
# TYPE cadvisor_version_info gauge
cadvisor_version_info{{cadvisorRevision="",cadvisorVersion="",kernelVersion="6.1.{machine}",osVersion="Debian"}} 1
# HELP container_cpu_usage_seconds_total Cumulative cpu time consumed in seconds.
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{{{root.format("/")}}} {cpu} 1795479175507
container_cpu_usage_seconds_total{{{root.format("/system.slice")}}} 9.5 1795479175507
container_cpu_usage_seconds_total{{container="app",cpu="total",id="{cgroup}",image="a\\"b\\\\",{names}}} 1.5 17954791755
# HELP container_last_seen Last time a container was seen by the exporter
# TYPE container_last_seen gauge
container_last_seen{{container="",id="/",image="",name="",namespace="",pod=""}} 1.795479175e+09 1795479175507
container_last_seen{{container="app",id="{cgroup}",image="app:1",{names}}} 1.795479175e+09 1795479175507
# HELP machine_cpu_cores Number of logical CPU cores.
# TYPE machine_cpu_cores gauge
machine_cpu_cores{{boot_id="b-{machine}",machine_id="m-{machine}",system_uuid="u-{machine}"}} {cores}
""".encode()


def probes(namespace: str, pod: str, uid: str) -> bytes:
    """/metrics/probes of a node that runs one pod with a liveness probe."""
    labels = f'container="app",namespace="{namespace}",pod="{pod}"'
    return f"""\
# HELP prober_probe_duration_seconds [ALPHA] Duration in seconds for a probe response.
# TYPE prober_probe_duration_seconds histogram
prober_probe_duration_seconds_bucket{{{labels},probe_type="Liveness",le="0.5"}} 7
prober_probe_duration_seconds_bucket{{{labels},probe_type="Liveness",le="+Inf"}} 8
prober_probe_duration_seconds_sum{{{labels},probe_type="Liveness"}} 0.479332879
prober_probe_duration_seconds_count{{{labels},probe_type="Liveness"}} 8
# HELP prober_probe_total [BETA] Cumulative number of a liveness, readiness or startup probe for a container by result.
# TYPE prober_probe_total counter
prober_probe_total{{{labels},pod_uid="{uid}",probe_type="Liveness",result="successful"}} 8
# HELP process_start_time_seconds [ALPHA] Start time of the process since unix epoch in seconds.
# TYPE process_start_time_seconds gauge
process_start_time_seconds 1.79547910281e+09
""".encode()


def summary(*pods: tuple[str, str, str], cores: int = 200_000_000, since: str = "2026-11-01", at: str = "10") -> bytes:
    """/stats/summary of a node that runs these pods (namespace, name, UID). `cores` in 10^-9, `at` in seconds."""
    time = f"2026-11-24T00:12:{at}Z"
    cpu = {"time": time, "usageNanoCores": cores, "usageCoreNanoSeconds": 5_000_000_000, "psi": {"full": {"avg10": 3}}}
    memory = {"time": time, "availableBytes": 700, "usageBytes": 400, "workingSetBytes": 300, "rssBytes": 200}
    disk = {"time": time, "availableBytes": 60, "capacityBytes": 100, "usedBytes": 40, "inodes": 9, "inodesFree": 8}
    interface = {"name": "eth0", "rxBytes": 11, "rxErrors": 0, "txBytes": 22, "txErrors": 0}
    return _json(
        {
            "node": {
                "nodeName": "n",
                "startTime": f"{since}T00:00:00Z",
                "systemContainers": [{"name": "kubelet", "startTime": f"{since}T00:00:00Z", "cpu": cpu}],
                "cpu": cpu,
                "memory": memory,
                "io": {"time": time, "psi": {}},
                "network": {"time": time, **interface, "interfaces": [interface]},
                "fs": disk,
                "runtime": {"imageFs": disk, "containerFs": disk},
                "rlimit": {"time": time, "maxpid": 1000, "curproc": 10},
            },
            "pods": [
                {
                    "podRef": {"name": name, "namespace": namespace, "uid": uid},
                    "startTime": time,
                    "containers": [{"name": "app", "startTime": time, "cpu": cpu, "memory": memory}],
                    "cpu": cpu,
                    "volume": [
                        {"name": "data", **disk, "pvcRef": {"name": "data-0", "namespace": namespace}},
                        {"name": "scratch", **disk},
                    ],
                }
                for namespace, name, uid in [(*FOREIGN, "u-0"), *pods]
            ],
        }
    )


def _each(pods: list[tuple[str, str]], line: str, *more: object) -> str:
    return "\n".join(line.format(*pod, *more) for pod in pods)


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1).encode()
