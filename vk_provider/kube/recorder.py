"""Writes Events about objects of an API server: best effort, off the caller's path.

An Event of this program is not repeated within five minutes. An Event forwarded from another API server gets a name
that follows from the original's, so an original that happens n times is one Event with a count of n here, too.

The recorder owns a bounded queue for each user. A full queue drops new Events: an Event is a hint, never state. What
was dropped, or the server could not write, does not count as written.
"""

from __future__ import annotations

import copy
import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.errors import ApiError, ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.objects import Metadata, PartialObject
from vk_provider.kube.resources import EVENTS, Resource
from vk_provider.kube.workqueue import WorkQueue

log = logging.getLogger(__name__)

_QUIET: Final = 300.0  # seconds in which the same Event about the same object is not repeated
_QUEUED: Final = 1000  # Events of one user that wait to be sent
_REMEMBERED: Final = 2000  # Events of one user
_WORKERS: Final = 4  # Events that are being sent at a time, of different users
_COMPONENT: Final = "vk-provider"

_Repetition = tuple[str, str, str]  # UID of the object, reason, message


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


class _Outbox:
    """What one user of the recorder has queued, and remembers. Lives as long as its Recorder, or has Events to send."""

    def __init__(self) -> None:
        self.queue: deque[_Entry] = deque()
        self.recent: dict[_Repetition, float] = {}  # own Events, and when they were queued; oldest first
        self.forwarded: dict[tuple[str, str], None] = {}  # namespace and name of forwarded Events, oldest first


class Recorder:
    """Writes Events until `run` of any view is cancelled. `share` gives another view, with a queue of its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._outbox = _Outbox()
        self._due: WorkQueue[_Outbox] = WorkQueue("events", self._send, workers=_WORKERS)  # of all views

    def share(self) -> Recorder:
        """A view for one of many users, such as a member: Events of others neither displace nor delay its Events."""
        view = copy.copy(self)
        view._outbox = _Outbox()
        return view

    def event(self, resource: Resource, about: Metadata, type: str, reason: str, message: str) -> None:
        """Queues an Event of this program; `type` is Normal or Warning. Never blocks, never raises."""
        now, recent = time.monotonic(), self._outbox.recent
        key = (about.uid, reason, message)
        if now - recent.get(key, -_QUIET) < _QUIET:
            return
        if self._put(_Entry(resource, about, type, reason, message)):
            recent.pop(key, None)
            recent[key] = now
            _forget_oldest(recent)

    def forward(
        self, resource: Resource, about: Metadata, type: str, reason: str, message: str, original: ForwardedEvent
    ) -> None:
        """Queues an Event of another API server, new or with a new count. Never blocks, never raises."""
        self._put(_Entry(resource, about, type, reason, message, original))

    async def run(self) -> None:
        """Sends what all views queue: one at a time of each view, and the views in turn."""
        await self._due.run()

    def _put(self, entry: _Entry) -> bool:
        """Whether it is queued."""
        if len(self._outbox.queue) >= _QUEUED:
            log.debug("event dropped", extra={"reason": entry.reason, "object": entry.metadata.key})
            return False
        self._outbox.queue.append(entry)
        self._due.add(self._outbox)
        return True

    async def _send(self, outbox: _Outbox) -> None:
        if not outbox.queue:  # after an unexpected error
            return
        entry = outbox.queue.popleft()
        try:
            if entry.original is None:
                await self._create(entry)
            else:
                await self._create_or_count(outbox.forwarded, entry, entry.original)
        except VkError as error:
            log.debug("event not written", extra={"reason": entry.reason, "error": str(error)})
            if not _is_refusal(error):
                outbox.recent.pop((entry.metadata.uid, entry.reason, entry.message), None)
        if outbox.queue:
            self._due.add(outbox)

    async def _create_or_count(
        self, forwarded: dict[tuple[str, str], None], entry: _Entry, original: ForwardedEvent
    ) -> None:
        key = (entry.namespace, original.name)
        if key not in forwarded:
            try:
                await self._create(entry)
            except ConflictError:  # written before this process started
                await self._count(entry, original)
        else:
            try:
                await self._count(entry, original)
            except NotFoundError:  # it has expired here
                await self._create(entry)
        forwarded[key] = None
        _forget_oldest(forwarded)

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


def _is_refusal(error: VkError) -> bool:
    """Whether the server does not want the Event: the same one would be refused again."""
    return isinstance(error, ApiError) and error.status < 500 and error.status != 429


def _forget_oldest(remembered: dict[Any, Any]) -> None:
    if len(remembered) > _REMEMBERED:
        del remembered[next(iter(remembered))]


def _shortened(message: str) -> str:
    return message[:1024]
