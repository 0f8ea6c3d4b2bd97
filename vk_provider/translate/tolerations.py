"""Tolerations of NoExecute taints, as the parent's taint eviction reads them.

(https://kubernetes.io/docs/concepts/scheduling-eviction/taint-and-toleration/; k8s.io/kubernetes
pkg/controller/tainteviction)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

NOT_READY: Final = "node.kubernetes.io/not-ready"
DEAD_NODE_TAINTS: Final = (NOT_READY, "node.kubernetes.io/unreachable")


def tolerates(toleration: Mapping[str, Any], key: str) -> bool:
    """Whether it tolerates a taint with that key, without a value, and with effect NoExecute."""
    if toleration.get("effect") not in (None, "", "NoExecute") or toleration.get("key") not in (None, "", key):
        return False
    return toleration.get("operator") == "Exists" or (bool(toleration.get("key")) and not toleration.get("value"))


def deciding(tolerations: Iterable[dict[str, Any]], key: str) -> dict[str, Any] | None:
    """The toleration that decides about a taint: the first one that tolerates it. None: none does."""
    return next((toleration for toleration in tolerations if tolerates(toleration, key)), None)
