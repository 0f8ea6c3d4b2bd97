"""Status of a virtual node, other than its resources, computed from the usable nodes of its member."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from vk_provider.translate.nodes.member_nodes import PRESSURES, MemberNode

_WEBSOCKETS: Final = "ExtendWebSocketsToKubelet"


def conditions(nodes: Sequence[MemberNode]) -> list[dict[str, str]]:
    """Pressure conditions without times. One is True only if all usable nodes have it: otherwise the others can take
    the pods.
    """
    found = []
    for kind in PRESSURES:
        under = bool(nodes) and all(kind in node.pressures for node in nodes)
        reason = f"AllMemberNodesHave{kind}" if under else f"MemberHasNo{kind}"
        message = (
            "every usable node of the member reports it" if under else "not every usable node of the member reports it"
        )
        found.append({"type": kind, "status": "True" if under else "False", "reason": reason, "message": message})
    return found


def declared_features(nodes: Sequence[MemberNode], version: str, *, served: bool) -> list[str]:
    """`status.declaredFeatures`: features of at least one usable node. The member's scheduler finds that node.

    Without the declaration, pods that need such a feature cannot be scheduled to the virtual node. Features of the
    kubelet API are those of our own server: `served` tells whether it runs, `version` is that of the member's API
    server, which answers the requests in the end.
    """
    found = {feature for node in nodes for feature in node.features} - {_WEBSOCKETS}
    # With this feature, kube-apiserver passes WebSockets through. Members before 1.31 do not speak that version.
    match = re.match(r"v?(\d+)\.(\d+)", version)
    if served and match and (int(match[1]), int(match[2])) >= (1, 31):
        found.add(_WEBSOCKETS)
    return sorted(found)


def node_info(nodes: Sequence[MemberNode], version: str, own_version: str) -> dict[str, str]:
    """`status.nodeInfo`: what all nodes agree on. `version` is that of the member's API server."""
    infos = [node.info for node in nodes]

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
