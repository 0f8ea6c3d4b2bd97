"""What the parent needs before a member can join: the CustomResourceDefinition and the system namespace."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

import vk_provider
from vk_provider.api.wellknown import SYSTEM_NAMESPACE
from vk_provider.cli.members import list_members
from vk_provider.cli.watching import until
from vk_provider.errors import NotFoundError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Object, encode, fields
from vk_provider.kube.resources import CRDS, NAMESPACES, Resource

_FILE: Final = Path("manifests", "crds", "memberclusters.yaml")
_ESTABLISHED_WITHIN: Final = 30.0  # seconds


class _Conditions(msgspec.Struct):
    conditions: list[Condition] | None = None  # null until the first one is set


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition of MemberClusters, from the installed package or the source tree."""
    package = Path(vk_provider.__file__).parent
    for root in (package, package.parent):
        if (root / _FILE).exists():
            document: dict[str, Any] = yaml.safe_load((root / _FILE).read_text())
            return document
    raise VkError(f"{package / _FILE}: no such file", reason="BrokenInstallation", remedy="install vk-provider again")


async def install(client: Client) -> None:
    """Prepares the parent for MemberClusters. Writes only what is missing or different."""
    wanted = definition()
    name = wanted["metadata"]["name"]
    present = await _get(client, CRDS, name)
    if present is None or not is_current(fields(present.spec), wanted["spec"]):
        await apply(client, CRDS, wanted)
        present = None
    if not _is_established(present):
        await _until_served(client, name)
    if await _get(client, NAMESPACES, SYSTEM_NAMESPACE) is None:
        await apply(client, NAMESPACES, {"metadata": {"name": SYSTEM_NAMESPACE}})


def is_current(present: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Whether the parent's definition has the wanted spec. The server may have added fields at the top of it."""
    return all(present.get(key) == value for key, value in wanted.items())


async def apply(client: Client, resource: Resource, body: dict[str, Any]) -> None:
    """Creates the object or sets the fields of `body` in it (server-side apply). Other fields stay."""
    whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    path = resource.path(body["metadata"]["name"], body["metadata"].get("namespace", ""))
    query = {"fieldManager": "vk-provider-cli", "force": "true"}
    await client.request("PATCH", path, query=query, body=encode(whole), content_type="application/apply-patch+yaml")


async def _get(client: Client, resource: Resource, name: str) -> Object | None:
    try:
        return await client.get(resource, name, type=Object)
    except NotFoundError:
        return None


def _is_established(crd: Object | None) -> bool:
    if crd is None:
        return False
    conditions = msgspec.json.decode(crd.status, type=_Conditions).conditions or ()
    return any(c.type == "Established" and c.status == "True" for c in conditions)


async def _until_served(client: Client, name: str) -> None:
    try:
        await until(client, CRDS, name, _is_established, _ESTABLISHED_WITHIN)
        async with asyncio.timeout(_ESTABLISHED_WITHIN):
            # The server starts to serve the resource a moment after it reports Established.
            backoff = Backoff(base=0.2, cap=2.0)
            while True:
                if await list_members(client) is not None:
                    return
                await asyncio.sleep(backoff.failed())
    except TimeoutError as error:
        raise VkError(
            f"CustomResourceDefinition {name} is not established after {_ESTABLISHED_WITHIN:.0f} s",
            reason="NotEstablished",
            remedy=f"see its conditions with kubectl describe crd {name}",
        ) from error
