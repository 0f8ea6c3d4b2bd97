"""Nodes and pods of a member, as the offer of the virtual node counts them."""

from __future__ import annotations

from typing import Any

from tests.unit.pods import Manifest, as_node, pod
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node
from vk_provider.translate.nodes.requests import Usage, usage

READY = {"type": "Ready", "status": "True"}


def node(
    name: str = "n1",
    *,
    allocatable: Manifest | None = None,
    spec: Manifest | None = None,
    conditions: list[Manifest] | None = None,
    info: Manifest | None = None,
    labels: dict[str, str] | None = None,
    features: list[str] | None = None,
) -> MemberNode:
    resources = {"cpu": "4", "memory": "16Gi", "pods": "110"} if allocatable is None else allocatable
    return member_node(
        as_node(
            {
                "metadata": {"name": name, "labels": labels or {}},
                "spec": spec or {},
                "status": {
                    "allocatable": resources,
                    "capacity": resources,
                    "conditions": [READY] if conditions is None else conditions,
                    "nodeInfo": info or {},
                    "declaredFeatures": features or [],
                },
            }
        )
    )


def foreign(node_name: str = "n1", requests: Manifest | None = None, phase: str = "Running", **spec: Any) -> Usage:
    containers = [{"name": "c", "resources": {"requests": requests or {}}}]
    return usage(pod({"nodeName": node_name, "containers": containers, **spec}, {"phase": phase}))
