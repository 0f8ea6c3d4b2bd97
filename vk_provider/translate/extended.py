"""Extended resources that the member does not have.

An administrator can write such a resource into the status of a virtual node. Then only the parent's scheduler counts
it. A kubelet removes requests for resources that its node does not have before it admits a pod; so does this module.
(https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/#cluster-level-extended-resources;
kubernetes/pkg/kubelet/lifecycle/predicate.go: removeMissingExtendedResources)
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.references import container_quantities, mentions_extended_resources


def is_extended(name: str) -> bool:
    """Whether it is no resource of Kubernetes itself (helper.IsExtendedResourceName)."""
    return "/" in name and "kubernetes.io/" not in name and not name.startswith("requests.")


def requested(pod: Pod) -> set[str]:
    """The extended resources that the containers of a pod request."""
    if not mentions_extended_resources(pod):
        return set()
    return {name for quantities in container_quantities(fields(pod.spec)) for name in quantities if is_extended(name)}


def drop_unknown(spec: Mapping[str, Any], known: Set[str]) -> None:
    """Removes requests and limits of extended resources that are not `known` from the containers."""
    for quantities in container_quantities(spec):
        for name in [name for name in quantities if is_extended(name) and name not in known]:
            del quantities[name]
