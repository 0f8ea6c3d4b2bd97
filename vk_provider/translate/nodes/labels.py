"""The labels of a virtual node.

Later ones override earlier ones: those that the member's usable nodes agree on (of an allow-list), `spec.labels`, the
labels that every virtual node has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster

HOSTNAME: Final = "kubernetes.io/hostname"
ZONE: Final = "topology.kubernetes.io/zone"
OS: Final = "kubernetes.io/os"
_EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"

# Labels of the member's nodes that a virtual node may have. Others say what the owners of the member want of its nodes,
# and rules of the parent may trust them: they need `spec.labelKeys`.
ALLOWED: Final = frozenset(
    {
        ZONE,
        "topology.kubernetes.io/region",
        OS,
        "kubernetes.io/arch",
        "node.kubernetes.io/instance-type",
        "node.kubernetes.io/windows-build",
        # The older names of some of them, which kubelets and cloud controllers still set.
        "beta.kubernetes.io/os",
        "beta.kubernetes.io/arch",
        "beta.kubernetes.io/instance-type",
        # Accelerators.
        "accelerator",
        "cloud.google.com/gke-accelerator",
        "k8s.amazonaws.com/accelerator",
        "karpenter.k8s.aws/instance-gpu-name",
    }
)
# Beginnings of the labels that vendors' operators set.
_ALLOWED_PREFIXES: Final = ("nvidia.com/gpu.", "nvidia.com/mig.", "nvidia.com/cuda.", "amd.com/gpu.", "gpu.intel.com/")
# What isolates workloads on nodes of the parent. Kubelets may not set it on themselves either.
# (https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction)
RESTRICTED: Final = "node-restriction.kubernetes.io"


def allowed(key: str, more: Iterable[str]) -> bool:
    """Whether a virtual node may have this label of the member's nodes. `more`: keys, and `domain/*`."""
    domain, slash, _name = key.rpartition("/")
    if domain == RESTRICTED or domain.endswith(f".{RESTRICTED}"):
        return False
    listed = key in more or (bool(slash) and f"{domain}/*" in more)
    return listed or key in ALLOWED or key.startswith(_ALLOWED_PREFIXES)


class AgreedLabels:
    """The allowed labels that all usable nodes of a member have with the same value.

    One stays for 5 min after the agreement has ended: a node that joins gets its labels a little after it is Ready.
    While there is no usable node, the last ones stay. Owns what is shown. Times are seconds of one steady clock.
    """

    SECONDS: Final = 300.0

    def __init__(self, known: Mapping[str, str], now: float) -> None:
        """`known`: what an earlier process has shown."""
        self._shown = {key: (value, now) for key, value in known.items()}  # value, and when it was agreed on last
        self.due = float("inf")  # when a label is removed or replaced if nothing changes

    def update(self, now: float, nodes: Iterable[Mapping[str, str]], more: Iterable[str]) -> dict[str, str]:
        """The labels to show. `nodes`: the labels of each usable node. `more`: see `allowed`."""
        common: set[tuple[str, str]] | None = None
        for labels in nodes:
            common = set(labels.items()) if common is None else common & labels.items()
        agreed = dict(common or ())
        keys = list(more)
        shown: dict[str, tuple[str, float]] = {}
        for key, (value, since) in self._shown.items():
            if allowed(key, keys):
                if common is None or agreed.get(key) == value:
                    shown[key] = value, now
                elif now < since + self.SECONDS:
                    shown[key] = value, since
        for key, value in agreed.items():
            if key not in shown and allowed(key, keys):
                shown[key] = value, now
        self._shown = shown
        ends = [since + self.SECONDS for key, (value, since) in shown.items() if since < now]
        self.due = min(ends, default=float("inf"))
        return {key: value for key, (value, _since) in shown.items()}


def labels(cluster: MemberCluster, name: str, agreed: Mapping[str, str]) -> dict[str, str]:
    """Labels of the virtual node with that name."""
    shared = dict(agreed)
    shared.setdefault(ZONE, cluster.metadata.name)
    # If there is no node to read it from, Linux is the safe default: many charts select on it.
    shared.setdefault(OS, "linux")
    return (
        shared
        | cluster.spec.labels
        | {
            wellknown.CLUSTER_LABEL: cluster.metadata.name,
            HOSTNAME: name,
            "type": "virtual-kubelet",
            _EXCLUDED: "true",
        }
    )
