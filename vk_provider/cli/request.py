"""What `vk-provider join` is asked for, and what in the parent is in its way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from vk_provider.api.membercluster import MemberCluster
from vk_provider.api.wellknown import CLUSTER_LABEL, SYSTEM_NAMESPACE
from vk_provider.cli.members import list_members
from vk_provider.errors import ConfigError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import NAMESPACES, NODES, SECRETS
from vk_provider.sync.membership.access import Facts

KEY: Final = "kubeconfig"  # of the Secret


@dataclass(frozen=True)
class Request:
    """The arguments of the command. `spec` has only the fields whose options were given."""

    name: str
    kubeconfig: bytes
    spec: dict[str, Any]

    @property
    def secret(self) -> str:
        return f"member-{self.name}"

    def merged(self, present: dict[str, Any]) -> dict[str, Any]:
        """The spec to write: a field whose option was not given stays as it is."""
        reference = {"name": self.secret, "namespace": SYSTEM_NAMESPACE, "key": KEY}
        return {**present, **self.spec, "kubeconfigSecretRef": reference}


async def check(client: Client, request: Request, facts: Facts) -> MemberCluster | None:
    """The present member of that name. Raises ConfigError if the join would conflict with an existing object."""
    name = request.name
    system = await client.get(NAMESPACES, "kube-system", type=PartialObject)
    if system.metadata.uid == facts.cluster_uid:
        raise ConfigError(
            f"{name}: this kubeconfig is for the parent itself",
            reason="MemberIsParent",
            remedy="pass the kubeconfig of another cluster",
        )
    members = {member.metadata.name: member for member in await list_members(client) or []}
    present = members.pop(name, None)
    for other in members.values():
        if other.status.cluster_uid == facts.cluster_uid:
            raise ConfigError(
                f"{name}: this cluster is a member already, as {other.metadata.name}",
                reason="AlreadyJoined",
                remedy=f"update that member with vk-provider join {other.metadata.name}, or unjoin it first",
            )
    if present is not None and present.metadata.deletion_timestamp is not None:
        raise ConfigError(
            f"{name} is leaving", reason="Leaving", remedy=f"wait until it has left: vk-provider unjoin {name}"
        )
    if present is not None and present.status.cluster_uid not in ("", facts.cluster_uid):
        raise ConfigError(
            f"{name} is another cluster (UID {present.status.cluster_uid}, not {facts.cluster_uid})",
            reason="NameConflict",
            remedy=f"choose another name, or run vk-provider unjoin {name} first",
        )
    await _check_node(
        client, request.spec.get("nodeName") or (present.node_name if present else name), request, members
    )
    await _check_secret(client, request)
    return present


async def _check_node(client: Client, node: str, request: Request, others: dict[str, MemberCluster]) -> None:
    for other in others.values():
        if other.node_name == node:
            raise ConfigError(
                f"virtual node {node} belongs to member {other.metadata.name}",
                reason="NameConflict",
                remedy="pass another --node-name",
            )
    try:
        present = await client.get(NODES, node, type=PartialObject)
    except NotFoundError:
        return
    if present.metadata.labels.get(CLUSTER_LABEL) != request.name:
        raise ConfigError(
            f"the parent already has a node {node} that is not the virtual node of {request.name}",
            reason="NameConflict",
            remedy="pass another --node-name",
        )


async def _check_secret(client: Client, request: Request) -> None:
    try:
        present = await client.get(SECRETS, request.secret, SYSTEM_NAMESPACE, type=PartialObject)
    except NotFoundError:
        return
    if present.metadata.labels.get(CLUSTER_LABEL) != request.name:
        raise ConfigError(
            f"the parent already has a Secret {SYSTEM_NAMESPACE}/{request.secret} without the label "
            f"{CLUSTER_LABEL}={request.name}",
            reason="NameConflict",
            remedy="delete it, or choose another name for the member",
        )
