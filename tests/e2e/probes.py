"""Pods that report their environment, for the parent and, as the reference, for a plain cluster.

Each writes lines `name=value` to its termination message. In the parent, reports and statuses must be the same as on a
plain node, except for the documented differences."""

from __future__ import annotations

import copy
import json
from typing import Any, Final

from tests.e2e.test_pods import BUSYBOX, FOREVER

Json = dict[str, Any]

_LABELS: Final = {"app": "probe", "tier": "front"}
_ANNOTATIONS: Final = {"note": 'say "hi"\n\tä'}
_SETTINGS: Final[Json] = {
    "kind": "ConfigMap",
    "metadata": {"name": "settings"},
    "data": {"colour": "green", "size": "3"},
}
_PASSWORD: Final[Json] = {
    "kind": "Secret",
    "metadata": {"name": "password"},
    "immutable": True,
    "stringData": {"word": "sesame"},
}
REPORT: Final = "/dev/termination-log"


def _field(path: str) -> Json:
    return {"fieldRef": {"fieldPath": path}}


def _resource(name: str, divisor: str) -> Json:
    return {"resourceFieldRef": {"containerName": "main", "resource": name, "divisor": divisor}}


_FROM: Final[dict[str, Json]] = {
    "UID_": _field("metadata.uid"),
    "NAME": _field("metadata.name"),
    "NAMESPACE": _field("metadata.namespace"),
    "NODE": _field("spec.nodeName"),
    "ACCOUNT": _field("spec.serviceAccountName"),
    "HOST_IP": _field("status.hostIP"),
    "HOST_IPS": _field("status.hostIPs"),
    "POD_IP": _field("status.podIP"),
    "POD_IPS": _field("status.podIPs"),
    "TIER": _field("metadata.labels['tier']"),
    "NOTE": _field("metadata.annotations['note']"),
    "CPU_LIMIT": _resource("limits.cpu", "1m"),
    "CPU_REQUEST": _resource("requests.cpu", "1m"),
    "MEMORY_LIMIT": _resource("limits.memory", "1Ki"),
    "COLOUR": {"configMapKeyRef": {"name": "settings", "key": "colour"}},
    "ABSENT": {"configMapKeyRef": {"name": "absent", "key": "x", "optional": True}},
    "WORD": {"secretKeyRef": {"name": "password", "key": "word"}},
}
_SEEN: Final = f"""
for name in {" ".join(_FROM)} S_colour S_size; do echo "$name=${{!name}}"; done
echo "hostname=$(hostname)"
echo "fqdn=$(hostname -f)"
echo "alias=$(grep 192.0.2.7 /etc/hosts)"
echo "id=$(id)"
echo "port_start=$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)"
echo "memory=$(grep ' /scratch ' /proc/mounts | cut -d' ' -f3)"
echo "read_only=$(touch /x 2>/dev/null || echo yes)"
echo "sub_path=$(ls -d /scratch/$NAME >/dev/null && touch /own/x && ls /scratch/$NAME)"
echo "mode=$(stat -L -c %a /all/word)"
echo "all=$(cat /all/word /all/size)"
echo "labels=$(grep -v ^topology /all/labels | sort | tr '\\n' ' ')"
echo "annotations=$(grep -v ^kubernetes.io /all/annotations | tr '\\n' ' ')"
echo "cpu_file=$(cat /all/cpu)"
"""


def _container(script: str, **more: Any) -> Json:
    return {"name": "main", "image": BUSYBOX, "command": ["sh", "-c", script], **more}


def _environment() -> Json:
    items = [
        {"path": "labels", **_field("metadata.labels")},
        {"path": "annotations", **_field("metadata.annotations")},
        {"path": "cpu", **_resource("limits.cpu", "1m")},
    ]
    sources = [
        {"secret": {"name": "password", "items": [{"key": "word", "path": "word", "mode": 0o400}]}},
        {"configMap": {"name": "settings", "items": [{"key": "size", "path": "size"}]}},
        {"configMap": {"name": "absent", "optional": True}},
        {"downwardAPI": {"items": items}},
    ]
    main = _container(
        f"{{ {_SEEN} }} > {REPORT}",
        env=[{"name": name, "valueFrom": source} for name, source in _FROM.items()],
        envFrom=[{"prefix": "S_", "configMapRef": {"name": "settings"}}],
        resources={"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
        securityContext={"runAsUser": 1001, "runAsGroup": 1002, "readOnlyRootFilesystem": True},
        volumeMounts=[
            {"name": "scratch", "mountPath": "/scratch"},
            {"name": "scratch", "mountPath": "/own", "subPathExpr": "$(NAME)"},
            {"name": "all", "mountPath": "/all"},
        ],
    )
    return {
        "hostname": "front",
        "subdomain": "web",
        "hostAliases": [{"ip": "192.0.2.7", "hostnames": ["db.example.com", "db"]}],
        "securityContext": {
            "fsGroup": 2000,
            "supplementalGroups": [3000],
            "sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "1"}],
        },
        "volumes": [
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "all", "projected": {"sources": sources}},
        ],
        "containers": [main],
    }


def _names() -> Json:
    script = f"{{ echo hostname=$(hostname); echo resolv=$(cat /etc/resolv.conf); }} > {REPORT}"
    return {
        "hostname": "front",
        "subdomain": "web",
        "setHostnameAsFQDN": True,
        "dnsPolicy": "None",
        "dnsConfig": {
            "nameservers": ["192.0.2.1"],
            "searches": ["example.com"],
            "options": [{"name": "ndots", "value": "3"}],
        },
        "containers": [_container(script)],
    }


def _steps() -> Json:
    """Init container, sidecar, post-start hook and main container record their order."""
    mounts = [{"name": "turns", "mountPath": "/turns"}]

    def step(name: str, script: str, **more: Any) -> Json:
        return {**_container(script, volumeMounts=mounts, **more), "name": name}

    after = {"exec": {"command": ["sh", "-c", "echo hook >> /turns/list"]}}
    main = "until grep -q hook /turns/list; do sleep 0.1; done; "
    main += f"{{ echo turns=$(cat /turns/list); echo first=$(tr '\\0' ' ' < /proc/1/cmdline); }} > {REPORT}"
    started = {"exec": {"command": ["grep", "-q", "sidecar", "/turns/list"]}, "periodSeconds": 1}
    return {
        "shareProcessNamespace": True,
        "volumes": [{"name": "turns", "emptyDir": {}}],
        "initContainers": [
            step("first", "echo first >> /turns/list"),
            step("sidecar", f"echo sidecar >> /turns/list; {FOREVER}", restartPolicy="Always", startupProbe=started),
            step("last", "echo last >> /turns/list"),
        ],
        "containers": [step("main", main, lifecycle={"postStart": after})],
    }


def _again() -> Json:
    script = f"if [ -e /kept/x ]; then echo run=2 > {REPORT}; else touch /kept/x; exit 3; fi"
    return {
        "restartPolicy": "OnFailure",
        "volumes": [{"name": "kept", "emptyDir": {}}],
        "containers": [_container(script, volumeMounts=[{"name": "kept", "mountPath": "/kept"}])],
    }


def _late() -> Json:
    return {"activeDeadlineSeconds": 3, "containers": [_container(FOREVER)]}


def _failing() -> Json:
    script = "echo last words; exit 7"
    return {"containers": [_container(script, terminationMessagePolicy="FallbackToLogsOnError")]}


def _host() -> Json:
    env = [{"name": name, "valueFrom": _FROM[name]} for name in ("HOST_IP", "POD_IP")]
    script = f"{{ echo same=$([ $HOST_IP = $POD_IP ] && echo yes); echo host=$(ls -d /host/kubernetes); }} > {REPORT}"
    mounts = [{"name": "host", "mountPath": "/host", "readOnly": True}]
    return {
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "volumes": [{"name": "host", "hostPath": {"path": "/etc", "type": "Directory"}}],
        "containers": [_container(script, env=env, volumeMounts=mounts)],
    }


def _together() -> Json:
    """Pod-level resources: the containers share them, and each sees them as its limits."""
    names = ("CPU_LIMIT", "CPU_REQUEST", "MEMORY_LIMIT")
    words = " ".join(f"{name.lower()}=${name}" for name in names)
    script = f"for word in {words}; do echo $word; done > {REPORT}"
    return {
        "resources": {"requests": {"cpu": "30m", "memory": "24Mi"}, "limits": {"cpu": "300m", "memory": "48Mi"}},
        "containers": [_container(script, env=[{"name": name, "valueFrom": _FROM[name]} for name in names])],
    }


def _live() -> Json:
    """A pod that keeps running, with probes, for changes at run time."""
    items = [{"path": "labels", **_field("metadata.labels")}]
    return {
        "restartPolicy": "Always",
        "volumes": [
            {"name": "info", "downwardAPI": {"items": items}},
            {"name": "settings", "configMap": {"name": "settings"}},
        ],
        "containers": [
            _container(
                f"touch /tmp/ready; {FOREVER}",
                startupProbe={"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
                readinessProbe={"exec": {"command": ["test", "-e", "/tmp/ready"]}, "periodSeconds": 1},
                resources={"requests": {"cpu": "20m"}},
                volumeMounts=[
                    {"name": "info", "mountPath": "/info"},
                    {"name": "settings", "mountPath": "/settings"},
                ],
            )
        ],
    }


def _sharing() -> Json:
    """A pod that keeps running, for the pod-level resources in its status."""
    return {
        "restartPolicy": "Always",
        "resources": {"requests": {"cpu": "40m", "memory": "24Mi"}, "limits": {"memory": "48Mi"}},
        "containers": [_container(FOREVER)],
    }


_SPECS: Final[dict[str, Json]] = {
    "environment": _environment(),
    "names": _names(),
    "steps": _steps(),
    "again": _again(),
    "late": _late(),
    "failing": _failing(),
    "host": _host(),
    "together": _together(),
    "live": _live(),
    "sharing": _sharing(),
}
NAMES: Final = tuple(_SPECS)


def manifests(member: str = "") -> str:
    """All objects as one List. With `member`, for the parent, pinned to this member."""
    pods = []
    for name, spec in copy.deepcopy(_SPECS).items():
        selector = {"nodeSelector": {"vk-provider.io/cluster": member}} if member else {}
        shared = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2} | selector
        metadata = {"name": name, "labels": _LABELS, "annotations": _ANNOTATIONS}
        pods.append({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": shared | spec})
    data = [{"apiVersion": "v1"} | item for item in (_SETTINGS, _PASSWORD)]
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [*data, *pods]})
