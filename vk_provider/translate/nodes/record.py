"""What of a Node is ours: an annotation of the Node records it."""

from __future__ import annotations

from typing import Any

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Condition, Node, fields
from vk_provider.translate.nodes.offer import Offer
from vk_provider.translate.nodes.wanted import Known


class NodeRecord(msgspec.Struct):
    """What of the Node is ours, as its annotation records. `resources` is None if nothing was recorded yet."""

    labels: list[str] = []
    taints: list[tuple[str, str]] = []
    resources: list[str] | None = None
    cluster: str = ""  # name of the MemberCluster

    @classmethod
    def of(cls, node: Node) -> NodeRecord:
        """The record of a Node; an empty one if it is damaged, in which case it is written again."""
        try:
            return msgspec.json.decode(node.metadata.annotations.get(wellknown.METADATA_KEYS, "{}"), type=cls)
        except msgspec.DecodeError:
            return cls()


class _Status(msgspec.Struct):
    allocatable: dict[str, str] = {}
    capacity: dict[str, str] = {}
    conditions: list[Condition] = []


def offer_of(node: Node) -> Offer:
    """The resources in a Node's status that are ours; others belong to another client."""
    status = msgspec.json.decode(node.status, type=_Status)
    return Offer(status.capacity, status.allocatable).only(NodeRecord.of(node).resources)


def stands_for(node: Node, member: str) -> bool:
    """Whether the Node is that of this member. If another client has removed the label, the record tells."""
    label, record = node.metadata.labels.get(wellknown.CLUSTER_LABEL), NodeRecord.of(node)
    unnamed = label is None and not record.cluster and wellknown.CLUSTER_LABEL in record.labels
    return label == member or record.cluster == member or unnamed


def known(node: Node) -> Known:
    """What an earlier process has made of the Node."""
    record, conditions = NodeRecord.of(node), msgspec.json.decode(node.status, type=_Status).conditions
    return Known(
        labels={key: node.metadata.labels[key] for key in record.labels if key in node.metadata.labels},
        taints=frozenset(record.taints),
        ready_reason=next((condition.reason for condition in conditions if condition.type == "Ready"), ""),
    )


def as_created(node: Node) -> dict[str, Any]:
    """The body that creates a Node again as it was."""
    metadata, spec = node.metadata, fields(node.spec)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": metadata.name, "labels": metadata.labels, "annotations": metadata.annotations},
        "spec": {name: spec[name] for name in ("taints", "unschedulable", "providerID") if name in spec},
        "status": fields(node.status),
    }
