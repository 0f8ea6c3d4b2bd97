"""The checks of `vk-provider doctor` for the parent. Each looks at one thing, changes nothing, and says what to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from vk_provider.cli.install import definition, is_current
from vk_provider.errors import NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Object, fields
from vk_provider.kube.resources import CRDS
from vk_provider.sync.membership.access import read_version

ResultT = TypeVar("ResultT")

OLDEST: Final = (1, 34)  # version of Kubernetes that is tested, in parents and members


class Level(StrEnum):
    """How bad it is. ERROR: something does not work. WARNING: something will not, or only in part."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


class Finding(msgspec.Struct):
    """The result of one check. `subject` is `parent`, or the name of a member."""

    subject: str
    check: str
    level: Level
    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Result:
    """What a check found, without its subject and name."""

    level: Level
    message: str
    remedy: str = ""


def ok(message: str) -> Result:
    """Nothing to do."""
    return Result(Level.OK, message)


def failed(error: VkError, remedy: str = "") -> Result:
    """An error of a request, or of a kubeconfig."""
    return Result(Level.ERROR, error.message, error.remedy or remedy)


async def parent_findings(client: Client) -> list[Finding]:
    """Checks of the parent."""
    checks: dict[str, Callable[[Client], Awaitable[Result]]] = {"version": _version, "definition": _definition}
    return [Finding("parent", name, *parts(await tried(check(client)))) for name, check in checks.items()]


def parts(result: Result) -> tuple[Level, str, str]:
    """The last fields of a Finding."""
    return result.level, result.message, result.remedy


async def tried(check: Awaitable[ResultT]) -> ResultT | Result:
    """An error of a check is its result."""
    try:
        return await check
    except VkError as error:
        return failed(error)


async def _version(client: Client) -> Result:
    return judged(await read_version(client))


def judged(version: str) -> Result:
    """Whether that version of Kubernetes is tested."""
    numbers = tuple(int(part) for part in version.lstrip("v").split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and numbers < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        return Result(
            Level.WARNING, f"Kubernetes {version} is older than all that are tested", f"upgrade it to {oldest}"
        )
    return ok(f"Kubernetes {version}")


async def _definition(client: Client) -> Result:
    wanted = definition()
    try:
        present = await client.get(CRDS, wanted["metadata"]["name"], type=Object)
    except NotFoundError:
        return Result(
            Level.ERROR, "MemberClusters are not defined", "vk-provider join, or: kubectl apply -f manifests/crds"
        )
    if is_current(fields(present.spec), wanted["spec"]):
        return ok("the definition of MemberClusters is that of this version")
    return Result(
        Level.WARNING, "the definition of MemberClusters is that of another version", "kubectl apply -f manifests/crds"
    )
