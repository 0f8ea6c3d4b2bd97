"""What the parent needs before a member can be joined: the CustomResourceDefinition and the system namespace."""

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
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Condition, Object, encode, fields
from vk_provider.kube.resources import CRDS, NAMESPACES, Resource

_FILE: Final = Path("manifests", "crds", "memberclusters.yaml")
_ESTABLISHED_WITHIN: Final = 30.0  # seconds


class _Conditions(msgspec.Struct):
    conditions: list[Condition] | None = None  # null until the first one is set


def definition() -> dict[str, Any]:
    """The CustomResourceDefinition of MemberClusters, from the installed package or from the checkout."""
    package = Path(vk_provider.__file__).parent
    for root in (package, package.parent):
        if (root / _FILE).exists():
            document: dict[str, Any] = yaml.safe_load((root / _FILE).read_text())
            return document
    raise VkError(f"{package / _FILE}: no such file", reason="BrokenInstallation", remedy="install vk-provider again")


async def install(client: Client) -> None:
    """Makes the parent ready for MemberClusters. Writes only what is missing or different."""
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
    """Whether the spec of the definition in the parent is ours; fields that the server adds at the top do not count."""
    return all(present.get(key) == value for key, value in wanted.items())


async def apply(client: Client, resource: Resource, body: dict[str, Any]) -> None:
    """Creates the object or makes it have what `body` says (server-side apply); what others set beside it stays."""
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
            # The server that says Established starts to serve a moment later, and there is nothing to watch for that.
            while True:
                if await list_members(client) is not None:
                    return
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        raise VkError(
            f"CustomResourceDefinition {name} is not established after {_ESTABLISHED_WITHIN:.0f} s",
            reason="NotEstablished",
            remedy=f"see its conditions: kubectl describe crd {name}",
        ) from error
