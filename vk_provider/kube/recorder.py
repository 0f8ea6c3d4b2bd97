"""Events about objects of an API server: best effort, off the caller's path, not repeated.

Our own are not written again while they are fresh. Those that somebody else told elsewhere are told again under a name
that follows from theirs, so that one that happens n times is one Event with a count of n here too, as there.

The recorder owns a bounded queue; a full queue drops (an Event is a hint, never state).
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
    """An Event that somebody else told. Times are RFC 3339."""

    name: str  # the same whenever this Event is told again, and no other's
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
    told: ForwardedEvent | None = None

    @property
    def namespace(self) -> str:
        return self.metadata.namespace or "default"


class Recorder:
    """Writes Events until `run` is cancelled."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(maxsize=1000)
        self._recent: dict[tuple[str, str, str], float] = {}
        self._written: dict[tuple[str, str], None] = {}  # namespace and name of Events told again, oldest first

    def event(self, resource: Resource, about: Metadata, type: str, reason: str, message: str) -> None:
        """Queues an Event of our own; `type` is Normal or Warning. Never blocks, never raises."""
        now = time.monotonic()
        key = (about.uid, reason, message)
        if now - self._recent.get(key, -_QUIET) < _QUIET:
            return
        if len(self._recent) > _REMEMBERED:
            self._recent = {k: at for k, at in self._recent.items() if now - at < _QUIET}
        self._recent[key] = now
        self._put(_Entry(resource, about, type, reason, message))

    def forward(
        self, resource: Resource, about: Metadata, type: str, reason: str, message: str, told: ForwardedEvent
    ) -> None:
        """Queues somebody else's Event, the first time or with a new count. Never blocks, never raises."""
        self._put(_Entry(resource, about, type, reason, message, told))

    async def run(self) -> None:
        """Sends what is queued, one at a time."""
        while True:
            entry = await self._queue.get()
            try:
                if entry.told is None:
                    await self._create(entry)
                else:
                    await self._write(entry, entry.told)
            except VkError as error:
                log.debug("event not written", extra={"reason": entry.reason, "error": str(error)})

    def _put(self, entry: _Entry) -> None:
        try:
            self._queue.put_nowait(entry)
        except asyncio.QueueFull:
            log.debug("event dropped", extra={"reason": entry.reason, "object": entry.metadata.key})

    async def _write(self, entry: _Entry, told: ForwardedEvent) -> None:
        key = (entry.namespace, told.name)
        if key not in self._written:
            try:
                await self._create(entry)
            except ConflictError:  # written before this process started
                await self._count(entry, told)
        else:
            try:
                await self._count(entry, told)
            except NotFoundError:  # it has expired here
                await self._create(entry)
        self._written[key] = None
        if len(self._written) > _REMEMBERED:
            del self._written[next(iter(self._written))]

    async def _create(self, entry: _Entry) -> None:
        now = self._client.server_time().strftime("%Y-%m-%dT%H:%M:%SZ")
        await self._client.create(EVENTS, _event(entry, now), entry.namespace, type=PartialObject)

    async def _count(self, entry: _Entry, told: ForwardedEvent) -> None:
        body = {"count": told.count, "lastTimestamp": told.last, "message": _shortened(entry.message)}
        await self._client.patch(
            EVENTS, told.name, body, entry.namespace, type=PartialObject, patch_type=PatchType.MERGE
        )


def _event(entry: _Entry, now: str) -> dict[str, Any]:
    about, told = entry.metadata, entry.told
    component = told.component if told else _COMPONENT
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": entry.namespace}
        | ({"name": told.name} if told else {"generateName": f"{about.name[:200]}."}),
        "involvedObject": {
            "apiVersion": entry.resource.api_version,
            "kind": entry.resource.kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        }
        | ({"fieldPath": told.field_path} if told and told.field_path else {}),
        "type": entry.type,
        "reason": entry.reason,
        "message": _shortened(entry.message),
        "source": {"component": component} | ({"host": told.host} if told else {}),
        "reportingComponent": component,
        "reportingInstance": told.host if told else "",
        "firstTimestamp": told.first if told else now,
        "lastTimestamp": told.last if told else now,
        "count": told.count if told else 1,
    }


def _shortened(message: str) -> str:
    return message[:1024]
