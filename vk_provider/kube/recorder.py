"""Writes Events about objects of an API server: best effort, off the caller's path.

An Event of this program is not repeated within five minutes. An Event forwarded from another API server gets a name
that follows from the original's, so an original that happens n times is one Event with a count of n here, too.

The recorder owns a bounded queue. A full queue drops new Events: an Event is a hint, never state.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.errors import ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.objects import Metadata, PartialObject
from vk_provider.kube.resources import EVENTS, Resource

log = logging.getLogger(__name__)

_QUIET: Final = 300.0  # seconds in which the same Event about the same object is not repeated
_REMEMBERED: Final = 5000  # Events
_COMPONENT: Final = "vk-provider"


@dataclass(frozen=True)
class ForwardedEvent:
    """What an Event of another API server keeps here. Times are RFC 3339."""

    name: str  # of the Event here: always the same for one original, and different for different ones
    component: str
    host: str
    field_path: str
    count: int
    first: str
    last: str


@dataclass(frozen=True)
class _Entry:
    resource: Resource
    metadata: Metadata
    type: str
    reason: str
    message: str
    original: ForwardedEvent | None = None

    @property
    def namespace(self) -> str:
        return self.metadata.namespace or "default"


class Recorder:
    """Writes Events until `run` is cancelled."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(maxsize=1000)
        self._recent: dict[tuple[str, str, str], float] = {}
        self._forwarded: dict[tuple[str, str], None] = {}  # namespace and name of forwarded Events, oldest first

    def event(self, resource: Resource, about: Metadata, type: str, reason: str, message: str) -> None:
        """Queues an Event of this program; `type` is Normal or Warning. Never blocks, never raises."""
        now = time.monotonic()
        key = (about.uid, reason, message)
        if now - self._recent.get(key, -_QUIET) < _QUIET:
            return
        if len(self._recent) > _REMEMBERED:
            self._recent = {k: at for k, at in self._recent.items() if now - at < _QUIET}
        self._recent[key] = now
        self._put(_Entry(resource, about, type, reason, message))

    def forward(
        self, resource: Resource, about: Metadata, type: str, reason: str, message: str, original: ForwardedEvent
    ) -> None:
        """Queues an Event of another API server, new or with a new count. Never blocks, never raises."""
        self._put(_Entry(resource, about, type, reason, message, original))

    async def run(self) -> None:
        """Sends what is queued, one at a time."""
        while True:
            entry = await self._queue.get()
            try:
                if entry.original is None:
                    await self._create(entry)
                else:
                    await self._create_or_count(entry, entry.original)
            except VkError as error:
                log.debug("event not written", extra={"reason": entry.reason, "error": str(error)})

    def _put(self, entry: _Entry) -> None:
        try:
            self._queue.put_nowait(entry)
        except asyncio.QueueFull:
            log.debug("event dropped", extra={"reason": entry.reason, "object": entry.metadata.key})

    async def _create_or_count(self, entry: _Entry, original: ForwardedEvent) -> None:
        key = (entry.namespace, original.name)
        if key not in self._forwarded:
            try:
                await self._create(entry)
            except ConflictError:  # written before this process started
                await self._count(entry, original)
        else:
            try:
                await self._count(entry, original)
            except NotFoundError:  # it has expired here
                await self._create(entry)
        self._forwarded[key] = None
        if len(self._forwarded) > _REMEMBERED:
            del self._forwarded[next(iter(self._forwarded))]

    async def _create(self, entry: _Entry) -> None:
        await self._client.create(EVENTS, _event(entry, self._client.timestamp()), entry.namespace, type=PartialObject)

    async def _count(self, entry: _Entry, original: ForwardedEvent) -> None:
        body = {"count": original.count, "lastTimestamp": original.last, "message": _shortened(entry.message)}
        await self._client.patch(
            EVENTS, original.name, body, entry.namespace, type=PartialObject, patch_type=PatchType.MERGE
        )


def _event(entry: _Entry, now: str) -> dict[str, Any]:
    about, original = entry.metadata, entry.original
    component = original.component if original else _COMPONENT
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": entry.namespace}
        | ({"name": original.name} if original else {"generateName": f"{about.name[:200]}."}),
        "involvedObject": {
            "apiVersion": entry.resource.api_version,
            "kind": entry.resource.kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        }
        | ({"fieldPath": original.field_path} if original and original.field_path else {}),
        "type": entry.type,
        "reason": entry.reason,
        "message": _shortened(entry.message),
        "source": {"component": component} | ({"host": original.host} if original else {}),
        "reportingComponent": component,
        "reportingInstance": original.host if original else "",
        "firstTimestamp": original.first if original else now,
        "lastTimestamp": original.last if original else now,
        "count": original.count if original else 1,
    }


def _shortened(message: str) -> str:
    return message[:1024]
