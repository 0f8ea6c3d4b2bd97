"""The manifests of a burst's pods. They are like those of users, so that their translation costs the same."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

NAMESPACE: Final = "bench"
GROUP: Final = "bench/group"  # label: the phase of the run to which a pod belongs


@dataclass(frozen=True)
class Group:
    """Pods that are created and deleted together, `NAME-0` to `NAME-(size - 1)`."""

    name: str
    size: int
    node: str = ""
    """The node in the manifest. If empty, the scheduler binds the pods."""
    tokens: bool = False
    """Whether they mount the token of the default service account, which is the default in Kubernetes."""

    @property
    def selector(self) -> str:
        return f"{GROUP}={self.name}"

    def manifests(self) -> Iterator[dict[str, Any]]:
        for index in range(self.size):
            yield _pod(self, index)


def _pod(group: Group, index: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{group.name}-{index}",
            "namespace": NAMESPACE,
            "labels": {
                GROUP: group.name,
                "app.kubernetes.io/name": "shop",
                "app.kubernetes.io/component": "web" if index % 2 else "api",
                "app.kubernetes.io/version": "1.4.2",
            },
            "annotations": {"prometheus.io/scrape": "true", "prometheus.io/port": "9090"},
        },
        "spec": _spec(group, index),
    }


def _spec(group: Group, index: int) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "containers": [_container("web", 8080)] + ([_container("proxy", 9090)] if index % 2 else []),
        "automountServiceAccountToken": group.tokens,
        "terminationGracePeriodSeconds": 30,
    }
    return spec | ({"nodeName": group.node} if group.node else {})


def _container(name: str, port: int) -> dict[str, Any]:
    return {
        "name": name,
        "image": f"registry.example.com/shop/{name}:1.4.2",
        "args": [f"--listen=:{port}", "--log-format=json"],
        "ports": [{"name": "http", "containerPort": port}],
        "env": [
            {"name": "LOG_LEVEL", "value": "info"},
            {"name": "DATABASE_URL", "value": "postgres://db.shop.svc:5432/shop"},
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 5},
        "livenessProbe": {"httpGet": {"path": "/live", "port": "http"}, "initialDelaySeconds": 10},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
