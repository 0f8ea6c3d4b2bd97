"""The parent's objects that pods name, read by name as a kubelet does; nothing else of a namespace is ever read.

    first pod that names it --> watched while it exists --(deleted, or never there)--> polled, with growing pauses
                                        ^                                                   |
                                        +-----------(there again, and a watch is free)------+

A watch is a connection. How many of them a pod, and all members together, may cause is bounded; what is above is read
again after a while. ClusterTrustBundles have one watch, from the first pod that asks for some.
"""

from __future__ import annotations

import asyncio
import random
import resource as limits
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from vk_provider.errors import ApiError, NotFoundError, NotMountedError, UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Payload as ParentPayload
from vk_provider.kube.resources import CLUSTER_TRUST_BUNDLES
from vk_provider.sync.dependents.copies import RESOURCES
from vk_provider.sync.dependents.items import Payload
from vk_provider.translate.dependents.copies import Original, original_of
from vk_provider.translate.dependents.trust_bundles import TrustBundle

WATCHES_OF_A_POD: Final = 32
_MOST_WATCHES: Final = 1000  # of this process, and at most a quarter of its file descriptors
_FIRST_ANSWER: Final = 15.0  # seconds for the first list
_FRESH: Final = 0.4  # seconds in which an object is not read again
_FIRST_PAUSE: Final = 0.5  # seconds until an object that does not exist is looked for again; the pause doubles
_TIME_TO_LIVE: Final = 60.0  # seconds until an object without a watch is read again, as by a kubelet that caches


class WatchLimit:
    """How many objects this process watches by name, and how many reads replaced a watch. All members share it."""

    def __init__(self, most: int = 0) -> None:
        soft = limits.getrlimit(limits.RLIMIT_NOFILE)[0]
        self.most = most or (_MOST_WATCHES if soft == limits.RLIM_INFINITY else min(_MOST_WATCHES, soft // 4))
        self.used = 0
        self.reads = 0


class Found(NamedTuple):
    """The parent's object, None if it does not exist; and the seconds until it must be asked for again, if it must."""

    original: Original | None
    again: float | None


@dataclass(frozen=True)
class _Watch:
    informer: Informer[Any]
    task: asyncio.Task[None]


@dataclass(frozen=True)
class _Read:
    """The answer to the last read of an object that is not watched."""

    original: Original | None
    at: float  # loop time
    misses: int  # in a row


class Sources:
    """See the module's text. The watches run in `tasks`."""

    def __init__(
        self,
        parent: Client,
        tasks: asyncio.TaskGroup,
        limit: WatchLimit,
        changed: Callable[[Payload], None],
        bundles: Callable[[], None],
        rng: random.Random | None = None,
    ) -> None:
        """`changed` is called with the item whose source changed, `bundles` after a change of any trust bundle."""
        self._parent, self._tasks, self._limit = parent, tasks, limit
        self._changed, self._bundles_changed = changed, bundles
        self._watches: dict[Payload, _Watch] = {}
        self._reads: dict[Payload, _Read] = {}
        self._bundles: _Watch | None = None
        self._rng = rng or random.Random()

    async def original(self, item: Payload, *, may_watch: bool) -> Found:
        """The parent's object. `may_watch`: the pods that name it have not used up their watches.

        Raises UnreachableError if it could not be read in time, and the errors of the API server. One caller at a time
        for each item.
        """
        read = self._reads.get(item)
        if item in self._watches or (may_watch and (read is None or read.original) and self._has_free_watch()):
            if original := await self._watched(item):
                self._reads.pop(item, None)
                return Found(original, None)
            self._end_watch(item)
            self._reads[item] = read = _Read(None, asyncio.get_running_loop().time(), 1)
            return Found(None, self._pause(read))
        read = await self._read(item, read)
        if read.original and may_watch and self._has_free_watch():
            return await self.original(item, may_watch=may_watch)
        return Found(read.original, self._pause(read))

    async def trust_bundles(self) -> Mapping[str, TrustBundle]:
        """All ClusterTrustBundles of the parent, by name. Raises UnreachableError likewise."""
        if self._bundles is None:
            informer: Informer[TrustBundle] = Informer(self._parent, CLUSTER_TRUST_BUNDLES, TrustBundle)
            informer.on_change(lambda _before, _after: self._bundles_changed())
            self._bundles = _Watch(informer, self._tasks.create_task(informer.run()))
        await first_answer(self._parent.server, self._bundles.informer, "ClusterTrustBundles")
        return self._bundles.informer.items

    def end(self, item: Payload) -> None:
        """No pod names it any more."""
        self._end_watch(item)
        self._reads.pop(item, None)

    def _has_free_watch(self) -> bool:
        return self._limit.used < self._limit.most

    async def _watched(self, item: Payload) -> Original | None:
        if (watch := self._watches.get(item)) is None:
            informer: Informer[Original] = Informer(
                self._parent,
                RESOURCES[item.kind],
                ParentPayload,
                namespace=item.namespace,
                fields=f"metadata.name={item.name}",
                keep=original_of,
            )
            informer.on_change(lambda _before, _after: self._changed(item))
            watch = self._watches[item] = _Watch(informer, self._tasks.create_task(informer.run()))
            self._limit.used += 1
            watch.task.add_done_callback(self._ended)
        await first_answer(self._parent.server, watch.informer, f"{item.kind} {item.namespace}/{item.name}")
        original: Original | None = watch.informer.items.get(f"{item.namespace}/{item.name}")
        return original

    def _ended(self, _task: asyncio.Task[None]) -> None:
        self._limit.used -= 1

    def _end_watch(self, item: Payload) -> None:
        if watch := self._watches.pop(item, None):
            watch.task.cancel()

    async def _read(self, item: Payload, before: _Read | None) -> _Read:
        loop = asyncio.get_running_loop()
        if before is not None and loop.time() - before.at < _FRESH:
            return before
        self._limit.reads += 1
        original: Original | None
        try:
            payload = await self._parent.get(RESOURCES[item.kind], item.name, item.namespace, type=ParentPayload)
            original = original_of(payload)
        except NotFoundError:
            original = None
        except ApiError as error:  # of the parent: no answer of the member
            raise NotMountedError(f"{item.kind} {item.namespace}/{item.name}: {error.message}") from error
        misses = 0 if original else (before.misses if before else 0) + 1
        read = self._reads[item] = _Read(original, loop.time(), misses)
        return read

    def _pause(self, read: _Read) -> float:
        """Seconds until the next read; with jitter, so that those of many objects do not come together."""
        pause = _TIME_TO_LIVE
        if read.original is None:
            pause = min(_TIME_TO_LIVE, _FIRST_PAUSE * 2.0 ** min(read.misses - 1, 10))
        return pause * self._rng.uniform(0.8, 1.2)


async def first_answer(server: str, informer: Informer[Any], name: str) -> None:
    """Returns when the first list is complete. After a while, raises NotMountedError if the parent refuses it, else
    UnreachableError; both name the list."""
    try:
        async with asyncio.timeout(_FIRST_ANSWER):
            await informer.synced.wait()
    except TimeoutError as error:
        if informer.failure is not None and isinstance(informer.failure[1], ApiError):
            raise NotMountedError(f"{name}: {informer.failure[1].message}") from error
        raise UnreachableError(f"{server}: {name} could not be read in time") from error
