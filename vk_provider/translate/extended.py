"""Extended resources that the member does not know.

Whoever writes such a resource into the status of the virtual node has it counted by the parent's scheduler, and by
nobody else. A kubelet takes requests for what its node does not know out of the pod before it admits it; so does this.
(https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#cluster-level-extended-resources;
kubernetes/pkg/kubelet/lifecycle/predicate.go: removeMissingExtendedResources)
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any


def is_extended(name: str) -> bool:
    """Whether Kubernetes itself does not know the resource (helper.IsExtendedResourceName)."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def drop_unknown(spec: Mapping[str, Any], known: Set[str]) -> None:
    """Takes requests and limits of extended resources that are not `known` out of the containers."""
    for kind in ("containers", "initContainers"):
        for container in spec.get(kind) or ():
            for quantities in (container.get("resources") or {}).values():
                if isinstance(quantities, dict):
                    for name in [name for name in quantities if is_extended(name) and name not in known]:
                        del quantities[name]
