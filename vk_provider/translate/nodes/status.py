"""Labels and status of a virtual node, other than its resources, computed from the nodes of its member."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.translate.nodes.offer import NODE_ROLE, PRESSURES, MemberNode

_HOSTNAME: Final = "kubernetes.io/hostname"
_ZONE: Final = "topology.kubernetes.io/zone"
_EXCLUDED: Final = "node.kubernetes.io/exclude-from-external-load-balancers"
_WEBSOCKETS: Final = "ExtendWebSocketsToKubelet"


def labels(cluster: MemberCluster, name: str, nodes: Iterable[MemberNode]) -> dict[str, str]:
    """Labels of the virtual node with that name. Later ones override earlier ones: labels that all nodes of the member
    share, `spec.labels`, the labels that every virtual node has.
    """
    common: dict[str, str] | None = None
    for node in nodes:
        mine = node.metadata.labels
        common = dict(mine) if common is None else {k: v for k, v in common.items() if mine.get(k) == v}
    shared = {key: value for key, value in (common or {}).items() if not key.startswith(NODE_ROLE)}
    shared.setdefault(_ZONE, cluster.metadata.name)
    # If there is no node to read it from, Linux is the safe default: many charts select on it.
    shared.setdefault("kubernetes.io/os", "linux")
    return (
        shared
        | cluster.spec.labels
        | {
            wellknown.CLUSTER_LABEL: cluster.metadata.name,
            _HOSTNAME: name,
            "type": "virtual-kubelet",
            _EXCLUDED: "true",
        }
    )


def conditions(nodes: Iterable[MemberNode]) -> list[dict[str, str]]:
    """Pressure conditions without times. One is True only if all usable nodes have it: otherwise the others can take
    the pods.
    """
    usable = [node for node in nodes if node.usable]
    found = []
    for kind in PRESSURES:
        under = bool(usable) and all(kind in node.pressures for node in usable)
        reason = f"AllMemberNodesHave{kind}" if under else f"MemberHasNo{kind}"
        message = (
            "every usable node of the member reports it" if under else "not every usable node of the member reports it"
        )
        found.append({"type": kind, "status": "True" if under else "False", "reason": reason, "message": message})
    return found


def declared_features(nodes: Iterable[MemberNode], version: str, *, served: bool) -> list[str]:
    """`status.declaredFeatures`: features of at least one usable node. The member's scheduler finds that node.

    Without the declaration, pods that need such a feature cannot be scheduled to the virtual node. Features of the
    kubelet API are those of our own server: `served` tells whether it runs, `version` is that of the member's API
    server, which answers the requests in the end.
    """
    found = {feature for node in nodes if node.usable for feature in node.features} - {_WEBSOCKETS}
    # With this feature, kube-apiserver passes WebSockets through. Members before 1.31 do not speak that version.
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if served and match and (int(match[1]), int(match[2])) >= (1, 31):
        found.add(_WEBSOCKETS)
    return sorted(found)


def node_info(nodes: Iterable[MemberNode], version: str, own_version: str) -> dict[str, str]:
    """`status.nodeInfo`: what all usable nodes agree on. `version` is that of the member's API server."""
    infos = [node.info for node in nodes if node.usable]

    def common(name: str, default: str) -> str:
        values = {getattr(info, name) for info in infos}
        return values.pop() if len(values) == 1 else default

    return {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": common("kernel_version", ""),
        "osImage": f"vk-provider {own_version}",
        "containerRuntimeVersion": common("container_runtime_version", "vk-provider://" + own_version),
        "kubeletVersion": version,
        "kubeProxyVersion": "",
        "operatingSystem": common("operating_system", "linux") or "linux",
        "architecture": common("architecture", "") or "amd64",
    }
