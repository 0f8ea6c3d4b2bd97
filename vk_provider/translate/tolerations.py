"""Tolerations, as the scheduler and the taint eviction of Kubernetes read them.

(https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/; k8s.io/kubernetes
pkg/controller/tainteviction)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

NOT_READY: Final = "node.kubernetes.io/not-ready"
DEAD_NODE_TAINTS: Final = (NOT_READY, "node.kubernetes.io/unreachable")


def tolerates(toleration: Mapping[str, Any], key: str, value: str = "", effect: str = "NoExecute") -> bool:
    """Whether it tolerates a taint with that key, value and effect."""
    if toleration.get("effect") not in (None, "", effect) or toleration.get("key") not in (None, "", key):
        return False
    if toleration.get("operator") == "Exists":
        return True
    return bool(toleration.get("key")) and (toleration.get("value") or "") == value


def deciding(tolerations: Iterable[dict[str, Any]], key: str) -> dict[str, Any] | None:
    """The toleration that decides about a NoExecute taint without a value: the first one that tolerates it, or None."""
    return next((toleration for toleration in tolerations if tolerates(toleration, key)), None)
