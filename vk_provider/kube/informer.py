"""List and watch: a complete, current copy of some objects of one API server, and a call for each change.

    connect --(streaming list, else pages)--> synced --(events, bookmarks)--> the stream ends --> resume after the last
       ^                                                                                          resourceVersion
       +---------------------------- 410: too old, list again <-----------------------------------+

Guarantees: `items` changes only within `run` and `observe`; handlers are called synchronously, in order, right after
the change, with the object before and after (None: absent); after a relist handlers see exactly what differs. Nothing
is ever resynchronized by time. `synced` is set for good by the first complete list; `connected` tells whether a stream
is open now. A silent connection counts as broken after `inactivity` seconds: servers send a bookmark every minute.
(https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes)
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from vk_provider.errors import ApiError, GoneError, InvalidError, VkError, api_error
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Metadata
from vk_provider.kube.resources import Resource
from vk_provider.kube.workqueue import full_jitter

log = logging.getLogger(__name__)

INACTIVITY: Final = 100.0  # seconds


class _HasMetadata(Protocol):
    metadata: Metadata


T = TypeVar("T", bound=_HasMetadata)
Handler = Callable[[T | None, T | None], None]


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
        self._inactivity = inactivity
        self._rng = rng or random.Random()
        self._decoder: msgspec.json.Decoder[_Event[Any]] = msgspec.json.Decoder(_Event[type])  # type: ignore[valid-type]  # a generic made at run time
        self._items: dict[str, T] = {}
        self._handlers: list[Handler[T]] = []
        self._version = ""  # where the watch stands; "" = must list
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

    def observe(self, item: Any) -> None:
        """Takes in the answer to a write of one's own, so that the cache is never behind what its owner did.

        Safe against races: an answer that the watch has overtaken (a deletion, say) is ignored.
        """
        if self.synced.is_set() and _newer(item.metadata.resource_version, self._version):
            current = self._items.get(item.metadata.key)
            if current is None or _newer(item.metadata.resource_version, current.metadata.resource_version):
                self._set(item)

    async def run(self) -> None:
        """Keeps the copy current until cancelled; failures are retried with full jitter."""
        attempt = 0
        while True:
            before, pause = self._version, 0.0
            try:
                await self._connect()
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
                self._version = ""
            if isinstance(error, InvalidError) and not self._version and self._streaming_list:
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

    async def _connect(self) -> None:
        """One connection, from its list (where one is needed) to its end."""
        listing: dict[str, T] | None = None
        query = {"watch": "1", "allowWatchBookmarks": "true", **self._selectors}
        # The server ends a watch after this time; jitter keeps many watches from coming back together.
        query["timeoutSeconds"] = str(self._rng.randint(300, 600))
        if not self._version and not self._streaming_list:
            await self._list_pages()
        if self._version:
            query["resourceVersion"] = self._version
        else:
            query |= {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
            listing = {}
        async for line in self._client.stream(self._path, query, inactivity=self._inactivity):
            if not line:
                continue
            self.connected = True
            event = self._decode(line)
            item = event.object
            if event.type == "BOOKMARK":
                if listing is not None and item.metadata.annotations.get("k8s.io/initial-events-end") == "true":
                    self._replace(listing, item.metadata.resource_version)
                    listing = None
                elif listing is None:
                    self._version = item.metadata.resource_version
            elif listing is None:
                self._apply(event.type, item)
            elif event.type == "DELETED":  # the list begins with a cache that may be older than it has to be
                listing.pop(item.metadata.key, None)
            else:
                listing[item.metadata.key] = self._keep(item) if self._keep else item

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
        listing: dict[str, T] = {}
        version = ""
        async for page in self._client.pages(self._resource, self._namespace, type=self._type, query=self._selectors):
            version = version or page.metadata.resource_version
            listing |= {item.metadata.key: self._keep(item) if self._keep else item for item in page.items}
        self._replace(listing, version)

    def _apply(self, type: str, item: Any) -> None:
        self._version = item.metadata.resource_version
        current = self._items.get(item.metadata.key)
        if type == "DELETED":
            if current is not None:
                del self._items[item.metadata.key]
            # The last state travels with the deletion: handlers get it as the object before.
            self._tell(self._keep(item) if self._keep else item, None)
        elif current is None or _newer(self._version, current.metadata.resource_version):
            self._set(item)

    def _replace(self, listing: dict[str, T], version: str) -> None:
        for key, item in list(self._items.items()):
            if key not in listing and not _newer(item.metadata.resource_version, version):
                del self._items[key]
                self._tell(item, None)
        for key, item in listing.items():
            current = self._items.get(key)
            if current is None or _newer(item.metadata.resource_version, current.metadata.resource_version):
                self._items[key] = item
                self._tell(current, item)
        self._version = version
        self.synced.set()

    def _set(self, decoded: Any) -> None:
        item: T = self._keep(decoded) if self._keep else decoded
        before = self._items.get(item.metadata.key)
        self._items[item.metadata.key] = item
        self._tell(before, item)

    def _tell(self, before: T | None, after: T | None) -> None:
        for handler in self._handlers:
            handler(before, after)


def _newer(version: str, than: str) -> bool:
    """Whether a resourceVersion comes after another of the same server; both are decimal numbers.

    (https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-versions: ordered since 1.35, and in every
    etcd-backed server before.)
    """
    return len(version) > len(than) or (len(version) == len(than) and version > than)
