"""Checks a member before it is served: which cluster its credential reaches, and what it may do there."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.errors import (
    ConfigError,
    ForbiddenError,
    NotFoundError,
    RefusedError,
    UnauthorizedError,
    UnreachableError,
    VkError,
)
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import NAMESPACES, SELF_SUBJECT_ACCESS_REVIEWS
from vk_provider.translate.state.rights import ALL_RIGHTS, GRANT, PERMISSIONS, Right, Rights, listed

RENEW: Final = "create a new token or certificate, and join the member again"
_REVIEWS: Final = 8  # access reviews of one member at the same time


@dataclass(frozen=True)
class Facts:
    """What a member is. `cluster_uid` is the UID of its kube-system namespace, `version` that of its API server.

    `rights`: what the credential may do there. Nothing essential is missing.
    """

    version: str
    cluster_uid: str
    rights: Rights = ALL_RIGHTS


class _Version(msgspec.Struct, rename="camel"):
    git_version: str


class _Resource(msgspec.Struct):
    name: str


class _ResourceList(msgspec.Struct):
    """https://kubernetes.io/docs/reference/using-api/api-concepts/#discovery-api (unaggregated)"""

    resources: list[_Resource] = []


class _ReviewStatus(msgspec.Struct):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _ReviewStatus


async def identify(client: Client, expected: str, *, member: str, deadline: float) -> None:
    """Returns when the member answers and is the cluster with that UID: the probe of its health.

    Reading an object needs the whole server and its storage, which `/readyz` does not. Raises ConfigError
    (ClusterUidChanged) if another cluster answers, RefusedError if it does not accept the credential, and the other
    errors of the API server.
    """
    try:
        body = await client.request("GET", NAMESPACES.path("kube-system"), deadline=deadline)
    except VkError as error:
        raise refusal(client, error) or error from error
    try:
        found = msgspec.json.decode(body, type=PartialObject).metadata.uid
    except msgspec.DecodeError as error:
        raise VkError(f"{client.server} does not answer as an API server", reason="NotKubernetes") from error
    if found != expected:
        raise another_cluster(client.server, found, expected, member)


def refusal(client: Client, error: VkError) -> RefusedError | None:
    """The same error as a RefusedError, if it shows that the member answers and does not accept this process.

    Only an answer over verified TLS does: 401, 403, or a certificate of the known authority and for this server that is
    out of date. None for any other error.
    """
    if isinstance(error, UnreachableError):
        if error.reason != "CertificateExpired":
            return None
        return RefusedError(error.message, reason=error.reason, remedy=error.remedy, answered=True)
    if not _verified(client):
        return None
    if isinstance(error, UnauthorizedError):
        message = f"{client.server} does not accept the credential: {error.message}"
        return RefusedError(message, remedy=RENEW, answered=True)
    if isinstance(error, ForbiddenError):
        return RefusedError(f"{client.server}: {error.message}", reason="Forbidden", remedy=GRANT, answered=True)
    return None


def _verified(client: Client) -> bool:
    credentials = client.credentials
    return credentials.server.startswith("https:") and credentials.ssl.verify_mode is ssl.CERT_REQUIRED


def another_cluster(server: str, found: str, expected: str, member: str) -> ConfigError:
    """The error for a member that is not the cluster that was joined: the pods of that one do not run in it."""
    return ConfigError(
        f"{server} is another cluster (UID {found}) than the one that was joined (UID {expected})",
        reason=wellknown.CLUSTER_UID_CHANGED,
        remedy=f"if it was rebuilt: vk-provider confirm {member} --new-cluster; else correct the kubeconfig",
    )


async def read_version(client: Client) -> str:
    """The version of the API server. Raises the errors of the API server, and DecodeError."""
    body = await client.request("GET", "/version", deadline=10)
    return msgspec.json.decode(body, type=_Version).git_version


async def examine(client: Client, places: asyncio.Semaphore | None = None) -> Facts:
    """What the member is. `places` bounds how many are examined at a time; one that does not answer takes none.

    Raises UnreachableError, RefusedError (Unauthorized, Forbidden with every right that is missing if an essential one
    is, CertificateExpired), or ConfigError (NotKubernetes).
    """
    try:
        version = await read_version(client)
        async with places or contextlib.nullcontext():
            rights = await review(client)
        if rights.missing_essential:
            raise RefusedError(
                f"the credential for {client.server} lacks: {listed(rights.missing)}",
                reason="Forbidden",
                remedy=GRANT,
                answered=True,
            )
        system = await client.get(NAMESPACES, "kube-system", type=PartialObject)
    except (UnauthorizedError, ForbiddenError) as error:
        unverified = ConfigError(f"{client.server}: {error.message}", reason=error.reason, remedy=RENEW)
        raise refusal(client, error) or unverified from error
    except UnreachableError as error:
        raise refusal(client, error) or error from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{client.server} is not a Kubernetes API server", reason="NotKubernetes") from error
    return Facts(version, system.metadata.uid, rights)


async def review(client: Client) -> Rights:
    """What the credential may do, of what the provider needs. Raises the errors of the API server."""
    questions = [right for row in PERMISSIONS for right in row.rights]
    places = asyncio.Semaphore(_REVIEWS)

    async def ask(right: Right) -> bool:
        async with places:
            return await _allowed(client, right)

    answers = await asyncio.gather(*map(ask, questions))
    missing = tuple(right for right, allowed in zip(questions, answers, strict=True) if not allowed)
    return Rights(missing, await _unserved(client))


async def _unserved(client: Client) -> frozenset[str]:
    """The subresources of pods in the table that the API server does not have."""
    try:
        answer = await client.request("GET", "/api/v1", deadline=10)
    except (ForbiddenError, NotFoundError):
        return frozenset()  # discovery is switched off: requests find out
    names = {resource.name for resource in msgspec.json.decode(answer, type=_ResourceList).resources}
    return frozenset(row.resource for row in PERMISSIONS if row.resource.startswith("pods/")) - names


async def _allowed(client: Client, right: Right) -> bool:
    name, _, subresource = right.resource.partition("/")
    attributes: dict[str, Any] = {
        "group": right.group,
        "resource": name,
        "subresource": subresource,
        "verb": right.verb,
    }
    body = {
        "apiVersion": SELF_SUBJECT_ACCESS_REVIEWS.api_version,
        "kind": SELF_SUBJECT_ACCESS_REVIEWS.kind,
        "spec": {"resourceAttributes": attributes},
    }
    review = await client.create(SELF_SUBJECT_ACCESS_REVIEWS, body, type=_Review)
    return review.status.allowed
