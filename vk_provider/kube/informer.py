"""List and watch: a complete, current copy of some objects of one API server, and a call for each change.

    connect --(streaming list, else pages)--> synced --(events, bookmarks)--> the stream ends --> resume after the last
       ^                                                                                          resourceVersion
       +--------------- 410 Expired, or the server was restored from a backup: list again <-------------+

Guarantees: `items` changes only within `run` and `observe`. Handlers are called synchronously, in order, right after
the change, with the object before and after (None: absent). After a new list, handlers get exactly the differences.
Nothing is ever resynchronized by time. `synced` is set for good by the first complete list. A connection that is silent
for `inactivity` seconds counts as broken: servers send a bookmark every minute.
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes)

The informer does the I/O. ResumePolicy (see `resume`) decides where each connection begins.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from vk_provider.errors import GoneError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Event, HasMetadata, ObjectsByKey, decode_event, event_decoder, newer, newest_of
from vk_provider.kube.paging import PagedList
from vk_provider.kube.resources import Resource
from vk_provider.kube.resume import Asked, NoStreamingListError, Restore, ResumePolicy, Start
from vk_provider.kube.watch import INACTIVITY, LIFETIME
from vk_provider.kube.workqueue import WorkQueue

log = logging.getLogger(__name__)

_STREAMING_LIST: Final = 60.0  # seconds of a streaming list without another object: the server ignores the request

T = TypeVar("T", bound=HasMetadata)
Handler = Callable[[T | None, T | None], None]


@dataclass
class _Listing(Generic[T]):
    """A list that is being received, and the state at the time of its request."""

    asked: Asked
    known: dict[str, T]
    items: dict[str, T]
    moved: float  # loop time at which it last brought another object


class Informer(Generic[T]):
    """See the module's text. Used from one event loop."""

    def __init__(
        self,
        client: Client,
        resource: Resource,
        type: type[Any],
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        keep: Callable[[Any], T] | None = None,
        inactivity: float = INACTIVITY,
        streaming_list: float = _STREAMING_LIST,
        rng: random.Random | None = None,
    ) -> None:
        """`labels`, `fields`: selectors. `keep` turns a decoded `type` into the T to cache, with the same metadata."""
        self._client, self._resource, self._type = client, resource, type
        self.path = resource.path(namespace=namespace)
        self.failure: tuple[float, Exception] | None = None  # loop time of the last one; None: something came since
        self._namespace = namespace
        self._selectors = {
            name: value for name, value in (("labelSelector", labels), ("fieldSelector", fields)) if value
        }
        self._keep = keep
        self._inactivity, self._list_seconds = inactivity, streaming_list
        self._rng = rng or random.Random()
        self._decoder = event_decoder(type)
        self._items: ObjectsByKey[T] = ObjectsByKey()
        self._handlers: list[Handler[T]] = []
        self._restore_handlers: list[Callable[[], None]] = []
        self._policy = ResumePolicy(client.restores, self._rng)
        self._paged: tuple[PagedList, _Listing[T]] | None = None  # a list that is not complete yet
        self.progress = 0.0  # loop time at which a list last brought something
        self.synced = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Informer {self.path} {self._selectors}>"

    @property
    def items(self) -> Mapping[str, T]:
        """By `namespace/name` (cluster-scoped: name)."""
        return self._items

    def holds(self, namespace: str) -> bool:
        """Whether any object of that namespace is cached."""
        return namespace in self._items.namespaces

    def on_change(self, handler: Handler[T]) -> None:
        """Registers `handler(before, after)`, and calls it at once for each object that is cached already."""
        self._handlers.append(handler)
        for item in self._items.values():
            handler(None, item)

    def enqueue(self, queue: WorkQueue[str]) -> None:
        """Adds the key of every object that changes to a work queue, and those of all that are cached already."""
        self.on_change(lambda before, after: queue.add(_key(before, after)))

    @contextmanager
    def subscribed(self, handler: Handler[T]) -> Iterator[None]:
        """`on_change` within the block only: for users that end before the informer does."""
        self.on_change(handler)
        try:
            yield
        finally:
            self._handlers.remove(handler)

    def on_restore(self, handler: Callable[[], None]) -> None:
        """Registers a handler that is called when the server was restored from a backup, after `items` has followed.

        Writes since that backup are undone, so what a user remembers of its own writes no longer holds.
        """
        self._restore_handlers.append(handler)

    def observe(self, item: Any, *, notify: bool = True) -> None:
        """Caches the answer to a write of this process, so that the cache is never behind this process's own writes.

        An answer that the watch has overtaken already (by a deletion, say) is ignored. Without `notify` no handler is
        called, now or when the watch shows the same version: for writers whose handlers would only repeat their work.
        """
        version = item.metadata.resource_version
        if self.synced.is_set() and newer(version, self._policy.version):
            current = self._items.get(item.metadata.key)
            if current is None or newer(version, current.metadata.resource_version):
                self._policy.observed = newest_of(version, self._policy.observed)
                self._set(item, notify=notify)

    async def run(self) -> None:
        """Keeps the copy current until cancelled; failures are retried with full jitter."""
        while True:
            try:
                seconds = self._policy.ended(planned=await self._connect())
            except (VkError, msgspec.DecodeError) as error:
                pause = self._policy.failed(error)
                seconds, self.failure = pause.seconds, (asyncio.get_running_loop().time(), error)
                fields = {"path": self.path, "attempt": pause.attempt, "error": str(error)}
                log.log(pause.level, "watch failed", extra=fields)
            await asyncio.sleep(seconds)

    async def _connect(self) -> bool:
        """One connection, with its list if it needs one, until its end. Whether it ended as planned."""
        start = self._policy.start(self._client.restores)
        if start is Start.CHECK:
            newest = await self._client.newest_version(self._resource, self._namespace, query=self._selectors)
            self._policy.checked(newest)
            start = self._policy.start(self._client.restores)
        if start is Start.PAGES:
            await self._list_pages()
        if start is Start.STREAM:
            listing, begin = self._listing(), {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
        else:
            listing, begin = None, {"resourceVersion": self._policy.version}
        loop, lifetime = asyncio.get_running_loop(), self._rng.randint(*LIFETIME)
        query = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(lifetime),
            **begin,
            **self._selectors,
        }
        started = loop.time()
        async with aclosing(self._client.stream(self.path, query, inactivity=self._inactivity)) as lines:
            async for line in lines:
                if not line:
                    continue
                event = decode_event(self._decoder, line)
                if listing is None:
                    self._apply(event)
                elif self._ends(listing, event):
                    self._replace(listing, event.object.metadata.resource_version)
                    listing = None
                else:
                    self._policy.streams()
        return listing is None and loop.time() - started >= lifetime - 1

    def _listing(self) -> _Listing[T]:
        asked = self._policy.asked(self._client.restores)
        return _Listing(asked, dict(self._items), {}, asyncio.get_running_loop().time())

    def _ends(self, listing: _Listing[T], event: Event[Any]) -> bool:
        """Adds an event of a streaming list to it. Whether it was the last one."""
        item = event.object
        if event.type == "BOOKMARK":
            if item.metadata.annotations.get("k8s.io/initial-events-end") == "true":
                return True
            raise NoStreamingListError(f"{self._client.server}: a bookmark within a streaming list of {self.path}")
        now = asyncio.get_running_loop().time()
        if event.type == "ADDED" and item.metadata.key not in listing.items:
            listing.moved = self.progress = now
        elif now - listing.moved >= self._list_seconds:
            raise NoStreamingListError(f"{self._client.server}: the streaming list of {self.path} does not end")
        if event.type == "DELETED":  # the list begins with a cache that may be older than it has to be
            listing.items.pop(item.metadata.key, None)
        else:
            listing.items[item.metadata.key] = self._keep(item) if self._keep else item
        return False

    async def _list_pages(self) -> None:
        """Lists page by page, or goes on with the list of the attempt before."""
        if self._paged is None or self._paged[1].asked.restores != self._client.restores:
            pages = PagedList(self._client, self._resource, self._type, self._namespace, self._selectors)
            self._paged = pages, self._listing()
        pages, listing = self._paged
        try:
            async with aclosing(pages.rest()) as rest:
                async for page in rest:
                    self.progress = asyncio.get_running_loop().time()
                    listing.items.update(
                        {item.metadata.key: self._keep(item) if self._keep else item for item in page.items}
                    )
        except GoneError:
            self._paged = None
            raise
        self._paged = None
        self._replace(listing, pages.version)

    def _apply(self, event: Event[Any]) -> None:
        """Applies an event of the watch to the cache."""
        item = event.object
        version = item.metadata.resource_version
        self._policy.version, self.failure = version, None
        if event.type == "BOOKMARK":
            return
        current = self._items.get(item.metadata.key)
        if event.type == "DELETED":
            if current is not None and newer(current.metadata.resource_version, version):
                return  # a write that was observed has created the object again: this was the one before
            if current is not None:
                del self._items[item.metadata.key]
            # The last state travels with the deletion: handlers get it as the object before.
            self._notify(self._keep(item) if self._keep else item, None)
        elif current is None or newer(version, current.metadata.resource_version):
            self._set(item)

    def _replace(self, listing: _Listing[T], version: str) -> None:
        """Makes the cache equal to a complete list."""
        for key in self._items | listing.items:
            current, item = self._items.get(key), listing.items.get(key)
            # The list is right, except about a write that was observed while it was under way and is newer than it.
            observed = current is not None and current is not listing.known.get(key)
            if current == item or (observed and current and newer(current.metadata.resource_version, version)):
                continue
            if item is not None:
                self._items[key] = item
            else:
                del self._items[key]
            self._notify(current, item)
        restore = self._policy.listed(listing.asked, version, self._client.restores)
        self.failure = None
        self.synced.set()
        if restore is Restore.FOUND:
            log.warning(
                "server went back in time", extra={"path": self.path, "from": listing.asked.newest, "to": version}
            )
            self._client.note_restore()
        if restore is not Restore.NONE:
            for handler in self._restore_handlers:
                handler()

    def _set(self, decoded: Any, *, notify: bool = True) -> None:
        item: T = self._keep(decoded) if self._keep else decoded
        before = self._items.get(item.metadata.key)
        self._items[item.metadata.key] = item
        if notify:
            self._notify(before, item)

    def _notify(self, before: T | None, after: T | None) -> None:
        for handler in self._handlers:
            handler(before, after)


def _key(before: HasMetadata | None, after: HasMetadata | None) -> str:
    found = after or before
    return found.metadata.key if found else ""
