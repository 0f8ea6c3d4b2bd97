"""Creates, watches and deletes pods, with a user that is not the program under test.

One watch per cluster observes the pods. All times are monotonic seconds of this process, so that times of both clusters
are comparable.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final

import msgspec

from bench.errors import BenchError
from bench.pods import GROUP, NAMESPACE, Group
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, encode
from vk_provider.kube.resources import PODS

_CLIENTS: Final = 16  # clients that create pods at the same time
_DELETE_DEADLINE: Final = 900.0  # seconds; the API server deletes the pods of a collection one by one


class _Status(msgspec.Struct, gc=False):
    phase: str = ""


class SeenPod(msgspec.Struct, gc=False):
    """The parts of a pod that a watcher reads."""

    metadata: Metadata
    status: _Status


@dataclass(slots=True)
class Sighting:
    """The namespace of a pod, and the time when it was first observed Running."""

    namespace: str
    running: float | None = None


class Watcher:
    """Watches the bench's pods in one cluster. An async context manager."""

    def __init__(self, client: Client) -> None:
        self._informer: Informer[SeenPod] = Informer(client, PODS, SeenPod, labels=GROUP)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.seen: dict[str, Sighting] = {}  # by name; kept after the pod is deleted
        self.present: Counter[str] = Counter()
        self.running: Counter[str] = Counter()

    async def __aenter__(self) -> Watcher:
        self._informer.on_change(self._note)
        self._task = asyncio.create_task(self._informer.run())
        await self._informer.synced.wait()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()

    def _note(self, before: SeenPod | None, after: SeenPod | None) -> None:
        pod = after or before
        if pod is None:
            return
        now, group = time.monotonic(), pod.metadata.labels[GROUP]
        if after is None:
            self.present[group] -= 1
        else:
            sighting = self.seen.get(pod.metadata.name)
            if before is None:
                self.present[group] += 1
                sighting = self.seen[pod.metadata.name] = Sighting(pod.metadata.namespace)
            if after.status.phase == "Running" and sighting is not None and sighting.running is None:
                sighting.running = now
                self.running[group] += 1
        self._changed.set()

    async def until(self, what: str, done: Callable[[], bool], seconds: float) -> None:
        """Returns when `done` is true. Checks it after every change. Raises BenchError after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                while not done():
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError as error:
            raise BenchError(f"timeout after {seconds:.0f} s: {what}") from error

    async def until_running(self, group: Group, seconds: float) -> None:
        await self.until(
            f"all {group.size} pods of {group.name} are Running",
            lambda: self.running[group.name] >= group.size,
            seconds,
        )

    async def until_gone(self, group: Group, seconds: float) -> None:
        await self.until(f"all pods of {group.name} are deleted", lambda: self.present[group.name] <= 0, seconds)


async def create_pod(client: Client, manifest: dict[str, Any]) -> None:
    await client.request("POST", PODS.path(namespace=NAMESPACE), body=encode(manifest))


async def create(client: Client, group: Group) -> dict[str, float]:
    """Creates the pods concurrently, as fast as the API server accepts them. Returns the time of each request."""
    sent: dict[str, float] = {}
    manifests = group.manifests()

    async def work() -> None:
        for manifest in manifests:
            sent[manifest["metadata"]["name"]] = time.monotonic()
            await create_pod(client, manifest)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CLIENTS):
            tasks.create_task(work())
    return sent


async def delete(client: Client, selector: str) -> None:
    """Deletes the pods with these labels in one request."""
    path = PODS.path(namespace=NAMESPACE)
    await client.request("DELETE", path, query={"labelSelector": selector}, deadline=_DELETE_DEADLINE)


async def touch(client: Client, watcher: Watcher, group: Group, manager: str) -> None:
    """Changes each pod without an effect: another field manager applies a label that already exists.

    Every watch receives one event for each pod, and no watcher has anything to do.
    """
    names = iter([f"{group.name}-{index}" for index in range(group.size)])
    query = {"fieldManager": manager, "force": "true"}

    async def work() -> None:
        for name in names:
            path = PODS.path(name, watcher.seen[name].namespace)
            metadata = {"name": name, "labels": {GROUP: group.name}}
            body = encode({"apiVersion": "v1", "kind": "Pod", "metadata": metadata})
            await client.request("PATCH", path, query=query, body=body, content_type="application/apply-patch+yaml")

    async with asyncio.TaskGroup() as tasks:
        for _ in range(_CLIENTS):
            tasks.create_task(work())
