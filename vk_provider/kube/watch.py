"""A watch that only forwards: it keeps no object, and begins now. And how long watches last.

The Follower is for what is looked at once, such as Events. It calls its handler for each object that is created or
changed from the moment when it runs. After a broken connection it goes on where that ended. After a 410, or a restore
of the server from a backup, it begins again now: what happened in between is not forwarded. Nor are deletions.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import aclosing
from typing import Final, Generic, TypeVar

import msgspec

from vk_provider.errors import ApiError, GoneError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.objects import HasMetadata, decode_event, event_decoder, newer
from vk_provider.kube.resources import Resource

log = logging.getLogger(__name__)

INACTIVITY: Final = 100.0  # seconds without a byte after which a connection is broken: bookmarks come every minute
LIFETIME: Final = (300, 600)  # seconds after which the server ends a watch; drawn, so that many do not end together

T = TypeVar("T", bound=HasMetadata)


class Follower(Generic[T]):
    """See the module's text. Owns nothing but the version of the last event."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        type: type[T],
        *,
        fields: str = "",
        inactivity: float = INACTIVITY,
        rng: random.Random | None = None,
    ) -> None:
        """`fields`: a selector."""
        self._client, self._resource = client, resource
        self._selectors = {"fieldSelector": fields} if fields else {}
        self._inactivity = inactivity
        self._rng = rng or random.Random()
        self._decoder = event_decoder(type)
        self._version = ""  # that of the last event; the watch goes on after it; empty: begin now
        self._unverified = True  # whether the server may have been restored since then

    async def run(self, handler: Callable[[T], None]) -> None:
        """Calls the handler until cancelled; failures are retried with full jitter."""
        backoff = Backoff(base=0.2, cap=15.0, warn_at=3, rng=self._rng)
        while True:
            before, pause = self._version, 0.0
            try:
                planned = await self._connect(handler)
                if planned or self._version != before:
                    backoff.succeeded()
                self._unverified = not planned
                pause = 0.0 if planned else backoff.failed()
            except (VkError, msgspec.DecodeError) as error:
                self._unverified = True
                if isinstance(error, GoneError):
                    self._version = ""
                elif self._version != before:
                    backoff.succeeded()
                pause = backoff.failed()
                if isinstance(error, ApiError) and error.retry_after is not None:
                    pause += error.retry_after
                fields = {"path": self._resource.path(), "attempt": backoff.failures, "error": str(error)}
                log.log(backoff.level, "watch failed", extra=fields)
            await asyncio.sleep(pause)

    async def _connect(self, handler: Callable[[T], None]) -> bool:
        """One connection, until its end. Whether it ended as planned."""
        if self._unverified or not self._version:
            newest = await self._client.newest_version(self._resource)
            if not self._version or newer(self._version, newest):
                self._version = newest
        loop, lifetime = asyncio.get_running_loop(), self._rng.randint(*LIFETIME)
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(lifetime),
            "resourceVersion": self._version,
            **self._selectors,
        }
        started = loop.time()
        stream = self._client.stream(self._resource.path(), query, inactivity=self._inactivity)
        async with aclosing(stream) as lines:
            async for line in lines:
                if not line:
                    continue
                event = decode_event(self._decoder, line)
                self._version = event.object.metadata.resource_version
                if event.type in ("ADDED", "MODIFIED"):
                    handler(event.object)
        return loop.time() - started >= lifetime - 1
