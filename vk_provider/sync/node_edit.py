"""Changes to a Node of the parent that others write at the same time: read, modify, write, and again on a conflict.

Taints are one list, which the node controller and administrators write too. They are written only on the version that
was read (https://kubernetes.io/docs/reference/using-api/api-concepts/#patch-and-apply).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from vk_provider.errors import ConflictError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Node, fields
from vk_provider.kube.resources import NODES

Taint = dict[str, Any]

_ATTEMPTS: Final = 10


@dataclass(frozen=True)
class NodeEdit:
    """The taints that a Node should have, and other fields to merge into its metadata and spec."""

    taints: list[Taint]
    metadata: dict[str, Any] = field(default_factory=dict)
    spec: dict[str, Any] = field(default_factory=dict)


async def edit_node(
    client: Client, name: str, edit: Callable[[Node, list[Taint]], NodeEdit | None], *, uid: str = ""
) -> Node:
    """Applies `edit` to a Node; it gets the Node and its taints, and returns None to leave the Node as it is.

    Returns the Node as it is then. Raises NotFoundError, and ConflictError if others write the Node all the time, or if
    it does not have the `uid`.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        node = await client.get(NODES, name, type=Node)
        if uid and node.metadata.uid != uid:
            raise ConflictError(409, "Conflict", f"node {name} is another one: UID {node.metadata.uid}, not {uid}")
        taints: list[Taint] = fields(node.spec).get("taints") or []
        if (wanted := edit(node, taints)) is None:
            return node
        metadata, spec = {**wanted.metadata, "uid": node.metadata.uid}, dict(wanted.spec)
        if wanted.taints != taints:
            metadata["resourceVersion"] = node.metadata.resource_version
            spec["taints"] = wanted.taints
        body = {"metadata": metadata, "spec": spec} if spec else {"metadata": metadata}
        try:
            return await client.patch(NODES, name, body, type=Node)
        except ConflictError:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("unreachable")
