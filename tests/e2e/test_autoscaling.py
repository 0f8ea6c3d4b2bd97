"""The parent's HorizontalPodAutoscaler, with metrics of the kubelet API of virtual nodes."""

from __future__ import annotations

import json
from typing import Any

from demo.world import World

from tests.e2e.test_pods import BUSYBOX

_TARGET = 50  # percent of the request


def _manifests() -> str:
    labels = {"app": "busy"}
    resources = {"requests": {"cpu": "50m"}, "limits": {"cpu": "150m"}}
    container = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", "while :; do :; done"],
        "resources": resources,
    }
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "busy"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
            },
        },
    }
    target = {"type": "Utilization", "averageUtilization": _TARGET}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "busy"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "busy"},
            "minReplicas": 1,
            "maxReplicas": 2,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": [deployment, scaler]})


def _utilization(scaler: dict[str, Any]) -> int:
    """The utilization in per cent of the request, as the autoscaler reports it. 0 if it is unknown."""
    metrics = scaler.get("status", {}).get("currentMetrics") or ()
    return max((one.get("resource", {}).get("current", {}).get("averageUtilization", 0) for one in metrics), default=0)


def test_a_busy_deployment_is_scaled_up_according_to_the_usage_of_its_pods(world: World, namespace: str) -> None:
    world.kubectl("create", "-n", namespace, "-f", "-", stdin=_manifests())

    def scaled() -> bool:
        scaler = world.get("hpa", "busy", "-n", namespace)
        pods = world.pods("app=busy", namespace=namespace)
        return _utilization(scaler) > _TARGET and [pod["status"]["phase"] for pod in pods] == ["Running"] * 2

    world.until("the autoscaler has observed the load, and two pods run", scaled, 240)
