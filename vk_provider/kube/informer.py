"""List and watch: a complete, current copy of some objects of one API server, and a call for each change.

    connect --(streaming list, else pages)--> synced --(events, bookmarks)--> the stream ends --> resume after the last
       ^                                                                                          resourceVersion
       +------------- 410: too old, or the server went back in time: list again <-----------------+

Guarantees: `items` changes only within `run` and `observe`; handlers are called synchronously, in order, right after
the change, with the object before and after (None: absent); after a relist handlers see exactly what differs. Nothing
is ever resynchronized by time. `synced` is set for good by the first complete list; `connected` tells whether a stream
is open now. A silent connection counts as broken after `inactivity` seconds: servers send a bookmark every minute.
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes)

A server whose etcd is restored from a backup goes back in time. A watch from a version that it has not reached yet is
accepted and silent until the versions have caught up, and what happened until then is never told (seen on 1.37). So a
stream that did not end as planned is resumed only after the server has said that its newest version is none older than
what was seen, and while nobody else of its client knows better; and a list, being a consistent read, is the truth about
everything that was known when it was asked for.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from vk_provider.errors import ApiError, GoneError, InvalidError, VkError, api_error
from vk_provider.kube.backoff import full_jitter
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata, newer
from vk_provider.kube.resources import Resource

log = logging.getLogger(__name__)

INACTIVITY: Final = 100.0  # seconds
_STREAMING_LIST: Final = 60.0  # seconds that a list may stream; a server that ignores the wish never ends it


class _HasMetadata(Protocol):
    metadata: Metadata


T = TypeVar("T", bound=_HasMetadata)
Handler = Callable[[T | None, T | None], None]


class _NoStreamingListError(VkError):
    """The server answers a streaming list with something else."""


class _Event(msgspec.Struct, Generic[T]):
    type: str
    object: T


class _EventType(msgspec.Struct):
    type: str


class _ErrorObject(msgspec.Struct):
    code: int = 500
    reason: str = ""
    message: str = ""


class _ErrorEvent(msgspec.Struct):
    object: _ErrorObject


@dataclass(frozen=True)
class _Listing(Generic[T]):
    """A list on its way in, and what was known when it was asked for."""

    known: dict[str, T]
    newest: str  # the newest version that was seen until then
    restores: int  # how often the server had gone back in time
    since: float  # loop time
    items: dict[str, T]


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
        """`labels`, `fields`: selectors. `keep` makes a decoded `type` into the T to cache; its metadata must stay."""
        self._client, self._resource, self._type = client, resource, type
        self._path = resource.path(namespace=namespace)
        self._namespace = namespace
        self._selectors = {
            name: value for name, value in (("labelSelector", labels), ("fieldSelector", fields)) if value
        }
        self._keep = keep
        self._inactivity, self._patience = inactivity, streaming_list
        self._rng = rng or random.Random()
        self._decoder: msgspec.json.Decoder[_Event[Any]] = msgspec.json.Decoder(_Event[type])  # type: ignore[valid-type]  # a generic made at run time
        self._items: dict[str, T] = {}
        self._handlers: list[Handler[T]] = []
        self._rewound: list[Callable[[], None]] = []
        self._version = ""  # where the watch stands; "" = must list
        self._seen = ""  # the newest version of all, of observed writes too; `_version` may be ahead of it
        self._restores = client.restores  # as of the last list
        self._streaming_list = True
        self.synced = asyncio.Event()
        self.connected = False

    def __repr__(self) -> str:
        return f"<Informer {self._path} {self._selectors}>"

    @property
    def items(self) -> Mapping[str, T]:
        """By `namespace/name` (cluster-scoped: name)."""
        return self._items

    def on_change(self, handler: Handler[T]) -> None:
        """Registers `handler(before, after)`; it hears of what is there already at once."""
        self._handlers.append(handler)
        for item in self._items.values():
            handler(None, item)

    @contextmanager
    def subscribed(self, handler: Handler[T]) -> Iterator[None]:
        """`on_change` within the block only: for those that end before the informer does."""
        self.on_change(handler)
        try:
            yield
        finally:
            self._handlers.remove(handler)

    def on_restore(self, handler: Callable[[], None]) -> None:
        """Registers what is called when the server was found to have gone back in time, after `items` has followed.

        What was written since the backup is undone, so memories of one's own writes are worth nothing.
        """
        self._rewound.append(handler)

    def observe(self, item: Any) -> None:
        """Takes in the answer to a write of one's own, so that the cache is never behind what its owner did.

        Safe against races: an answer that the watch has overtaken (a deletion, say) is ignored.
        """
        if self.synced.is_set() and newer(item.metadata.resource_version, self._version):
            current = self._items.get(item.metadata.key)
            if current is None or newer(item.metadata.resource_version, current.metadata.resource_version):
                self._seen = _newest(item.metadata.resource_version, self._seen)
                self._set(item)

    async def run(self) -> None:
        """Keeps the copy current until cancelled; failures are retried with full jitter."""
        attempt, planned = 0, True
        while True:
            before, pause = self._version, 0.0
            try:
                was_planned, planned = planned, False
                planned = await self._connect(doubtful=not was_planned)
                error: Exception | None = None
            except (VkError, msgspec.DecodeError) as failure:
                error = failure
            finally:
                self.connected = False
            # A stream that brought something was a good one, however it ended; one that brought nothing counts as a
            # failure even if it ended politely, else a server that hangs up at once would be asked in a tight loop.
            # Likewise a version that is too old: a server that says so again and again would be listed in one.
            if self._version != before and not isinstance(error, GoneError):
                attempt = 0 if error is None else 1
            else:
                attempt += 1
            if isinstance(error, GoneError):
                self._list_anew()
            if isinstance(error, InvalidError | _NoStreamingListError) and not self._version and self._streaming_list:
                self._streaming_list = False  # a server without it, or with the feature switched off
                continue
            if error is not None:
                level = logging.WARNING if attempt in (3, 30) else logging.DEBUG
                log.log(level, "watch failed", extra={"path": self._path, "attempt": attempt, "error": str(error)})
            if attempt:
                pause = full_jitter(attempt, base=0.2, cap=15.0, rng=self._rng)
            if isinstance(error, ApiError) and error.retry_after is not None:
                pause = max(pause, error.retry_after)
            await asyncio.sleep(pause)

    async def _connect(self, *, doubtful: bool) -> bool:
        """One connection, from its list (where one is needed) to its end. Whether that end was the planned one.

        `doubtful`: the server may be another one than before, so ask it how far it is.
        """
        loop = asyncio.get_running_loop()
        if self._version and (self._restores != self._client.restores or (doubtful and await self._went_back())):
            self._list_anew()
        listing: _Listing[T] | None = None
        query = {"watch": "1", "allowWatchBookmarks": "true", **self._selectors}
        # The server ends a watch after this time; jitter keeps many watches from coming back together.
        lifetime = self._rng.randint(300, 600)
        query["timeoutSeconds"] = str(lifetime)
        if not self._version and not self._streaming_list:
            await self._list_pages()
        if self._version:
            query["resourceVersion"] = self._version
        else:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            listing = self._listing()
        started = loop.time()
        async for line in self._client.stream(self._path, query, inactivity=self._inactivity):
            if not line:
                continue
            self.connected = True
            event = self._decode(line)
            if listing is None:
                self._take(event)
            elif self._ends(listing, event):
                self._replace(listing, event.object.metadata.resource_version)
                listing = None
        return listing is None and loop.time() - started >= lifetime - 1

    async def _went_back(self) -> bool:
        newest = await self._client.newest_version(self._resource, self._namespace, query=self._selectors)
        return newer(_newest(self._version, self._seen), newest)

    def _list_anew(self) -> None:
        self._seen, self._version = _newest(self._version, self._seen), ""

    def _listing(self) -> _Listing[T]:
        now = asyncio.get_running_loop().time()
        return _Listing(dict(self._items), self._seen, self._client.restores, now, {})

    def _ends(self, listing: _Listing[T], event: _Event[Any]) -> bool:
        """Takes in an event of a streaming list; whether it was the last."""
        item = event.object
        if event.type == "BOOKMARK":
            if item.metadata.annotations.get("k8s.io/initial-events-end") == "true":
                return True
            raise _NoStreamingListError(f"{self._client.server}: a bookmark within a streaming list")
        if asyncio.get_running_loop().time() - listing.since > self._patience:
            raise _NoStreamingListError(f"{self._client.server}: a streaming list without an end")
        if event.type == "DELETED":  # the list begins with a cache that may be older than it has to be
            listing.items.pop(item.metadata.key, None)
        else:
            listing.items[item.metadata.key] = self._keep(item) if self._keep else item
        return False

    def _decode(self, line: bytes) -> _Event[Any]:
        """Raises the ApiError that an ERROR event stands for, and DecodeError."""
        try:
            event = self._decoder.decode(line)
            if event.type != "ERROR":
                return event
        except msgspec.ValidationError:
            if msgspec.json.decode(line, type=_EventType).type != "ERROR":
                raise
        # It holds a Status, which may or may not pass for an object of our type.
        problem = msgspec.json.decode(line, type=_ErrorEvent).object
        raise api_error(problem.code, problem.reason, problem.message)

    async def _list_pages(self) -> None:
        listing, version = self._listing(), ""
        async for page in self._client.pages(self._resource, self._namespace, type=self._type, query=self._selectors):
            version = version or page.metadata.resource_version
            listing.items.update({item.metadata.key: self._keep(item) if self._keep else item for item in page.items})
        self._replace(listing, version)

    def _take(self, event: _Event[Any]) -> None:
        item = event.object
        self._version = item.metadata.resource_version
        if event.type == "BOOKMARK":
            return
        current = self._items.get(item.metadata.key)
        if event.type == "DELETED":
            if current is not None:
                del self._items[item.metadata.key]
            # The last state travels with the deletion: handlers get it as the object before.
            self._tell(self._keep(item) if self._keep else item, None)
        elif current is None or newer(self._version, current.metadata.resource_version):
            self._set(item)

    def _replace(self, listing: _Listing[T], version: str) -> None:
        found, told = newer(listing.newest, version), listing.restores != self._restores
        for key in self._items | listing.items:
            current, item = self._items.get(key), listing.items.get(key)
            # The list knows better, but for a write that was observed while it was under way and is newer than it.
            observed = current is not None and current is not listing.known.get(key)
            if current == item or (observed and current and newer(current.metadata.resource_version, version)):
                continue
            if item is not None:
                self._items[key] = item
            else:
                del self._items[key]
            self._tell(current, item)
        self._version, self._restores = version, listing.restores
        self.synced.set()
        if found:
            if listing.restores == self._client.restores:  # nobody has said so yet
                self._client.note_restore()
            self._restores = self._client.restores
            log.warning("server went back in time", extra={"path": self._path, "from": listing.newest, "to": version})
        if found or told:
            self._seen = version
            for handler in self._rewound:
                handler()

    def _set(self, decoded: Any) -> None:
        item: T = self._keep(decoded) if self._keep else decoded
        before = self._items.get(item.metadata.key)
        self._items[item.metadata.key] = item
        self._tell(before, item)

    def _tell(self, before: T | None, after: T | None) -> None:
        for handler in self._handlers:
            handler(before, after)


def _newest(version: str, other: str) -> str:
    return version if newer(version, other) else other
