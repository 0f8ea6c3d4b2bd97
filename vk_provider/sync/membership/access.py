"""Checks a member before it is served: which cluster its credential reaches, and what it may do there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.errors import ConfigError, ForbiddenError, UnauthorizedError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import NAMESPACES, SELF_SUBJECT_ACCESS_REVIEWS

# Group, resource, verbs: everything that the provider must be able to do in a member. manifests/member/rbac.yaml grants
# exactly this, and the optional rights for metrics of nodes.
PERMISSIONS: Final = (
    ("", "pods", ("get", "list", "watch", "create", "patch", "delete")),
    ("", "pods/ephemeralcontainers", ("patch",)),
    ("", "pods/resize", ("patch",)),
    ("", "pods/log", ("get",)),
    ("", "pods/exec", ("get", "create")),
    ("", "pods/attach", ("get", "create")),
    ("", "pods/portforward", ("get", "create")),
    ("", "configmaps", ("get", "list", "watch", "create", "patch", "delete")),
    ("", "secrets", ("get", "list", "watch", "create", "patch", "delete")),
    ("", "services", ("get", "list", "watch", "create", "patch", "delete")),
    ("discovery.k8s.io", "endpointslices", ("get", "list", "watch", "create", "patch", "delete")),
    ("", "namespaces", ("get", "list", "watch", "create", "delete")),
    ("", "nodes", ("list", "watch")),
    ("", "events", ("list", "watch")),
    ("coordination.k8s.io", "leases", ("list", "watch")),
)


@dataclass(frozen=True)
class Facts:
    """What a member is. `cluster_uid` is the UID of its kube-system namespace, `version` that of its API server."""

    version: str
    cluster_uid: str


class _Version(msgspec.Struct, rename="camel"):
    git_version: str


class _ReviewStatus(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _ReviewStatus


async def identify(client: Client, expected: str, *, member: str, deadline: float) -> None:
    """Returns when the member answers and is the cluster with that UID: the probe of its health.

    Reading an object needs the whole server and its storage, which `/readyz` does not. Raises ConfigError
    (ClusterUidChanged) if another cluster answers, and the errors of the API server.
    """
    body = await client.request("GET", NAMESPACES.path("kube-system"), deadline=deadline)
    try:
        found = msgspec.json.decode(body, type=PartialObject).metadata.uid
    except msgspec.DecodeError as error:
        raise VkError(f"{client.server} does not answer as an API server", reason="NotKubernetes") from error
    if found != expected:
        raise another_cluster(client.server, found, expected, member)


def another_cluster(server: str, found: str, expected: str, member: str) -> ConfigError:
    """The error for a member that is not the cluster that was joined: the pods of that one do not run in it."""
    return ConfigError(
        f"{server} is another cluster (UID {found}) than the one that was joined (UID {expected})",
        reason=wellknown.CLUSTER_UID_CHANGED,
        remedy=f"if it was rebuilt: vk-provider confirm {member} --new-cluster; else correct the kubeconfig",
    )


async def examine(client: Client) -> Facts:
    """What the member is. Raises UnreachableError, or ConfigError: Unauthorized, NotKubernetes, or Forbidden with every
    right that is missing.
    """
    try:
        version = msgspec.json.decode(await client.request("GET", "/version", deadline=10), type=_Version)
        await _permissions(client)
        system = await client.get(NAMESPACES, "kube-system", type=PartialObject)
    except UnauthorizedError as error:
        raise ConfigError(
            f"{client.server} does not accept the credential: {error.message}",
            reason="Unauthorized",
            remedy="renew it in the kubeconfig",
        ) from error
    except ForbiddenError as error:
        raise ConfigError(f"{client.server}: {error.message}", reason="Forbidden") from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{client.server} is not a Kubernetes API server", reason="NotKubernetes") from error
    return Facts(version.git_version, system.metadata.uid)


async def _permissions(client: Client) -> None:
    questions = [(group, resource, verb) for group, resource, verbs in PERMISSIONS for verb in verbs]
    answers = await asyncio.gather(*(_allowed(client, *question) for question in questions))
    missing: dict[str, list[str]] = {}
    for (group, resource, verb), allowed in zip(questions, answers, strict=True):
        if not allowed:
            missing.setdefault(f"{resource}.{group}" if group else resource, []).append(verb)
    if missing:
        listed = ", ".join(f"{'/'.join(verbs)} {resource}" for resource, verbs in missing.items())
        raise ConfigError(
            f"the credential for {client.server} lacks: {listed}",
            reason="Forbidden",
            remedy="grant manifests/member/rbac.yaml in the member cluster",
        )


async def _allowed(client: Client, group: str, resource: str, verb: str) -> bool:
    name, _, subresource = resource.partition("/")
    attributes: dict[str, Any] = {"group": group, "resource": name, "subresource": subresource, "verb": verb}
    body = {
        "apiVersion": SELF_SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": SELF_SUBJECT_ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    review = await client.create(SELF_SUBJECT_ACCESS_REVIEWS, body, type=_Review)
    return review.status.allowed
