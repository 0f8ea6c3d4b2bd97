"""Pods that ask to stay on a lost member if nothing else could run them.

Kubernetes evicts pods according to their tolerations. Tolerations of an existing pod can be added but not removed, and
their seconds may change. So a hold makes the toleration of a dead node unlimited and records the seconds that it had;
the release restores them. A pod without such a toleration keeps one of 0 seconds, which has the same effect as none.
(https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/)
"""

from __future__ import annotations

from typing import Any

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Node, Pod, fields, node_conditions
from vk_provider.translate.tolerations import DEAD_NODE_TAINTS, deciding


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False


def asks(pod: Pod) -> bool:
    """Whether the pod asks to be held."""
    return pod.metadata.annotations.get(wellknown.ON_LOST) == "Hold" and pod.metadata.deletion_timestamp is None


def is_held(pod: Pod) -> bool:
    """Whether the pod is held now."""
    return wellknown.HELD in pod.metadata.annotations


def takes_pods(node: Node) -> bool:
    """Whether the node is Ready and not cordoned."""
    ready, spec = node_conditions(node).get("Ready"), msgspec.json.decode(node.spec, type=_NodeSpec)
    return ready is not None and ready.status == "True" and not spec.unschedulable


def hold_patch(pod: Pod) -> dict[str, Any]:
    """The merge patch that holds the pod. It applies to this version of the pod only."""
    tolerations = _tolerations(pod)
    seconds: dict[str, int] = {}
    for key in DEAD_NODE_TAINTS:
        first = deciding(tolerations, key)
        if first is not None and first.get("tolerationSeconds") is None:
            continue  # already unlimited
        seconds[key] = 0 if first is None else max(0, first["tolerationSeconds"])
        if first is not None and first.get("key") == key:
            del first["tolerationSeconds"]
        else:  # only the first one that matches counts
            tolerations.insert(0, {"key": key, "operator": "Exists", "effect": "NoExecute"})
    return _patch(pod, tolerations, msgspec.json.encode(seconds).decode())


def release_patch(pod: Pod) -> dict[str, Any]:
    """The merge patch that releases the pod. It applies to this version of the pod only."""
    tolerations = _tolerations(pod)
    try:
        seconds = msgspec.json.decode(pod.metadata.annotations.get(wellknown.HELD, "{}"), type=dict[str, int])
    except msgspec.DecodeError:
        seconds = {}  # another client has changed the record: the tolerations stay as they are
    for key, value in seconds.items():
        first = deciding((t for t in tolerations if t.get("key") == key), key)
        if first is not None and key in DEAD_NODE_TAINTS:
            first["tolerationSeconds"] = value
    return _patch(pod, tolerations, None)


def _patch(pod: Pod, tolerations: list[dict[str, Any]], held: str | None) -> dict[str, Any]:
    metadata = pod.metadata
    return {
        "metadata": {
            "uid": metadata.uid,
            "resourceVersion": metadata.resource_version,
            "annotations": {wellknown.HELD: held},
        },
        "spec": {"tolerations": tolerations},
    }


def _tolerations(pod: Pod) -> list[dict[str, Any]]:
    return list(fields(pod.spec).get("tolerations") or ())
