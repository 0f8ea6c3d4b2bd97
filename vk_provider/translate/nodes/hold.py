"""Pods that ask to stay on a lost member where nothing else could run them.

Kubernetes evicts by the pod's own tolerations, and of a pod that exists tolerations can be added but not removed; their
seconds may change. So a hold makes the toleration of a dead node unlimited, and notes the seconds that it had; the
release writes these back. A pod that tolerated nothing keeps a toleration of 0 seconds, which means the same.
(https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Condition, Metadata, Node, Pod, fields
from vk_provider.translate.selectors import matches

DEAD_NODE_TAINTS: Final = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


class _NodeSpec(msgspec.Struct):
    unschedulable: bool = False


class _NodeStatus(msgspec.Struct):
    conditions: list[Condition] = []


def asks(pod: Pod) -> bool:
    """Whether the pod wants to be held."""
    return pod.metadata.annotations.get(wellknown.ON_LOST) == "Hold" and pod.metadata.deletion_timestamp is None


def is_held(pod: Pod) -> bool:
    """Whether it is held now."""
    return wellknown.HELD in pod.metadata.annotations


def takes_pods(node: Node) -> bool:
    """Ready and not cordoned."""
    conditions = msgspec.json.decode(node.status, type=_NodeStatus).conditions
    ready = any(condition.type == "Ready" and condition.status == "True" for condition in conditions)
    return ready and not msgspec.json.decode(node.spec, type=_NodeSpec).unschedulable


def could_run(pod: Pod, nodes: Iterable[Metadata]) -> bool:
    """Whether one of the nodes satisfies the pod's nodeSelector and required node affinity.

    Room, taints and the places of other pods are not looked at: these can change while it waits.
    """
    spec = fields(pod.spec)
    selector: Mapping[str, str] = spec.get("nodeSelector") or {}
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    terms: list[dict[str, Any]] = (affinity or {}).get("nodeSelectorTerms") or []
    return any(
        all(node.labels.get(key) == value for key, value in selector.items())
        and (affinity is None or any(_satisfies(node, term) for term in terms))
        for node in nodes
    )


def hold_patch(pod: Pod) -> dict[str, Any]:
    """The merge patch that holds a pod; on this version of it only."""
    tolerations = _tolerations(pod)
    seconds: dict[str, int] = {}
    for key in DEAD_NODE_TAINTS:
        first = next((t for t in tolerations if _tolerates(t, key)), None)
        if first is not None and first.get("tolerationSeconds") is None:
            continue  # unlimited as it is
        seconds[key] = 0 if first is None else max(0, first["tolerationSeconds"])
        if first is not None and first.get("key") == key:
            del first["tolerationSeconds"]
        else:  # the first one that fits counts
            tolerations.insert(0, {"key": key, "operator": "Exists", "effect": "NoExecute"})
    return _patch(pod, tolerations, msgspec.json.encode(seconds).decode())


def release_patch(pod: Pod) -> dict[str, Any]:
    """The merge patch that takes a hold back; on this version of the pod only."""
    tolerations = _tolerations(pod)
    try:
        seconds = msgspec.json.decode(pod.metadata.annotations.get(wellknown.HELD, "{}"), type=dict[str, int])
    except msgspec.DecodeError:
        seconds = {}  # somebody changed it: it stays as it is
    for key, value in seconds.items():
        first = next((t for t in tolerations if t.get("key") == key and _tolerates(t, key)), None)
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


def _tolerates(toleration: Mapping[str, Any], key: str) -> bool:
    """A taint of that key, without a value, with effect NoExecute."""
    if toleration.get("effect") not in (None, "", "NoExecute") or toleration.get("key") not in (None, "", key):
        return False
    return toleration.get("operator") == "Exists" or (bool(toleration.get("key")) and not toleration.get("value"))


def _satisfies(node: Metadata, term: Mapping[str, Any]) -> bool:
    expressions, names = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not names:
        return False  # an empty term selects nothing
    return all(matches(node.labels.get(e["key"]), e) for e in expressions) and all(
        matches(node.name, e) for e in names if e["key"] == "metadata.name"
    )
