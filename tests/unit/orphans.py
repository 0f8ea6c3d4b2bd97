"""A member with its orphans and their brake, for tests in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.unit.api_server import ApiServer
from tests.unit.pods import NAMES, pod
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, MemberClusterStatus, SecretRef
from vk_provider.kube.objects import Condition, Metadata, Pod
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.orphans import OrphanBrake
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.health import State


class Cache:
    """A list of pods that the test changes."""

    def __init__(self) -> None:
        self.items: dict[str, Pod] = {}
        self.restored: list[Callable[[], None]] = []

    def on_restore(self, handler: Callable[[], None]) -> None:
        self.restored.append(handler)


class Report:
    """The part of the MemberCluster that the brake writes: the conditions OrphansHeld, the newest last."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self.removed: list[str] = []

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None:
        self.conditions.append(Condition(type, status, reason, message))

    async def remove_annotation(self, name: str) -> None:
        self.removed.append(name)


class World:
    """Parent pods and their member pods; those without a parent pod are orphans."""

    def __init__(
        self,
        pods: int,
        *,
        orphans: int = 0,
        condition: Condition | None = None,
        state: State = State.HEALTHY,
        fenced: bool = False,
        leaving: bool = False,
    ) -> None:
        """`orphans`: the number of pods without a parent pod. `condition`: the report of an earlier process."""
        self.parents, self.members = Cache(), Cache()
        for number in range(pods):
            name = f"web-{number}"
            self.find_parent(number)
            annotations = {
                wellknown.PARENT_UID: f"p-{number}",
                wellknown.PARENT_NAMESPACE: "shop",
                wellknown.PARENT_NAME: name,
            }
            member = pod(name=name, uid=f"m-{number}", labels=NAMES.labels, annotations=annotations)
            self.members.items[f"shop/{name}"] = member
        self.lose_parents(0, orphans)
        metadata = Metadata(
            name="west",
            annotations={wellknown.FENCED: "2026-03-01T10:00:00Z"} if fenced else {},
            deletion_timestamp="2026-03-01T10:00:00Z" if leaving else None,
        )
        status = MemberClusterStatus(conditions=[condition] if condition else [])
        self.cluster = Observable(MemberCluster(metadata, MemberClusterSpec(SecretRef("s", "n")), status))
        self.state = MemberState(state, self.cluster)
        self.report, self.parent = Report(), ApiServer()
        caches: Any = (self.parents, self.members)
        self.brake = OrphanBrake(self.cluster, self.parent, PodCaches(NAMES, *caches), self.state, self.report)

    def annotate(self, **annotations: str) -> None:
        metadata = msgspec.structs.replace(self.cluster.value.metadata, annotations=annotations)
        self.cluster.set(msgspec.structs.replace(self.cluster.value, metadata=metadata))

    def restore_parent(self, first: int, last: int) -> None:
        """The parent is restored from a backup without these pods."""
        self.lose_parents(first, last)
        self.parent.restores += 1
        for handler in self.parents.restored:
            handler()

    @asynccontextmanager
    async def running(self, seconds: float) -> AsyncIterator[None]:
        """Runs the brake for this time, and then the block."""
        task = asyncio.create_task(self.brake.run())
        await asyncio.wait([task], timeout=seconds)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    @property
    def reported(self) -> tuple[str, str, str]:
        """The newest condition: status, reason and message."""
        newest = self.report.conditions[-1]
        return newest.status, newest.reason, newest.message

    def may_delete(self, first: int, last: int) -> bool:
        """Whether all of them may be deleted now."""
        return all(self.delay(number) is None for number in range(first, last))

    def lose_parents(self, first: int, last: int) -> None:
        for number in range(first, last):
            del self.parents.items[f"shop/web-{number}"]

    def find_parent(self, number: int) -> None:
        self.parents.items[f"shop/web-{number}"] = pod(name=f"web-{number}", uid=f"p-{number}")

    def relabel(self, number: int, labels: dict[str, str]) -> None:
        found = self.members.items[f"shop/web-{number}"]
        self.members.items[f"shop/web-{number}"] = msgspec.structs.replace(
            found, metadata=msgspec.structs.replace(found.metadata, labels={**found.metadata.labels, **labels})
        )

    def delay(self, number: int) -> float | None:
        return self.brake.delay(self.members.items[f"shop/web-{number}"])
