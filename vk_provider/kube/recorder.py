"""Events of our own about objects of an API server: best effort, off the caller's path, not repeated.

The recorder owns a bounded queue; a full queue drops (an Event is a hint, never state).
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from vk_provider.errors import VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, Named
from vk_provider.kube.resources import EVENTS, Resource

log = logging.getLogger(__name__)

_QUIET: Final = 300.0  # seconds in which the same Event about the same object is not repeated
_COMPONENT: Final = "vk-provider"


@dataclass(frozen=True)
class _Entry:
    resource: Resource
    metadata: Metadata
    type: str
    reason: str
    message: str


class Recorder:
    """Writes Events until `run` is cancelled."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._queue: asyncio.Queue[_Entry] = asyncio.Queue(maxsize=1000)
        self._recent: dict[tuple[str, str, str], float] = {}

    def event(self, resource: Resource, about: Metadata, type: str, reason: str, message: str) -> None:
        """Queues an Event; `type` is Normal or Warning. Never blocks, never raises."""
        now = time.monotonic()
        key = (about.uid, reason, message)
        if now - self._recent.get(key, -_QUIET) < _QUIET:
            return
        if len(self._recent) > 5000:
            self._recent = {k: at for k, at in self._recent.items() if now - at < _QUIET}
        self._recent[key] = now
        try:
            self._queue.put_nowait(_Entry(resource, about, type, reason, message))
        except asyncio.QueueFull:
            log.debug("event dropped", extra={"reason": reason, "object": about.key})

    async def run(self) -> None:
        """Sends what is queued, one at a time."""
        while True:
            entry = await self._queue.get()
            try:
                namespace = entry.metadata.namespace or "default"
                await self._client.create(EVENTS, _event(entry, namespace), namespace, type=Named)
            except VkError as error:
                log.debug("event not written", extra={"reason": entry.reason, "error": str(error)})


def _event(entry: _Entry, namespace: str) -> dict[str, Any]:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = entry.metadata
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": f"{about.name[:200]}.", "namespace": namespace},
        "involvedObject": {
            "apiVersion": entry.resource.api_version,
            "kind": entry.resource.kind,
            "name": about.name,
            "namespace": about.namespace,
            "uid": about.uid,
            "resourceVersion": about.resource_version,
        },
        "type": entry.type,
        "reason": entry.reason,
        "message": entry.message[:1024],
        "source": {"component": _COMPONENT},
        "reportingComponent": _COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
