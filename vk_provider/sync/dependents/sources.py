"""The parent's objects that pods name, watched by name as a kubelet does; nothing else of a namespace is ever read.

One watch per ConfigMap or Secret, from the first pod that names it to the last; and one of all ClusterTrustBundles,
from the first pod that asks for some.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.errors import UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Payload as ParentPayload
from vk_provider.kube.resources import CLUSTER_TRUST_BUNDLES
from vk_provider.sync.dependents.copies import RESOURCES
from vk_provider.sync.dependents.items import Payload
from vk_provider.translate.dependents.trust_bundles import TrustBundle

_FIRST_ANSWER: Final = 15.0  # seconds for the first list


@dataclass(frozen=True)
class _Watch:
    informer: Informer[Any]
    task: asyncio.Task[None]


class Sources:
    """See the module's text. The watches run in `tasks`."""

    def __init__(
        self, parent: Client, tasks: asyncio.TaskGroup, changed: Callable[[Payload], None], bundles: Callable[[], None]
    ) -> None:
        """`changed` is called with the item whose source changed, `bundles` after a change of any trust bundle."""
        self._parent, self._tasks = parent, tasks
        self._changed, self._bundles_changed = changed, bundles
        self._watches: dict[Payload, _Watch] = {}
        self._bundles: _Watch | None = None

    async def payload(self, item: Payload) -> ParentPayload | None:
        """The parent's object; None if it does not exist. Raises UnreachableError if it could not be read in time."""
        watch = self._watches.get(item)
        if watch is None:
            informer: Informer[ParentPayload] = Informer(
                self._parent,
                RESOURCES[item.kind],
                ParentPayload,
                namespace=item.namespace,
                fields=f"metadata.name={item.name}",
            )
            informer.on_change(lambda _before, _after: self._changed(item))
            watch = self._watches[item] = self._watch(informer)
        await first_answer(self._parent.server, watch.informer, f"{item.kind} {item.namespace}/{item.name}")
        source: ParentPayload | None = watch.informer.items.get(f"{item.namespace}/{item.name}")
        return source

    async def trust_bundles(self) -> Mapping[str, TrustBundle]:
        """All ClusterTrustBundles of the parent, by name. Raises UnreachableError likewise."""
        if self._bundles is None:
            informer: Informer[TrustBundle] = Informer(self._parent, CLUSTER_TRUST_BUNDLES, TrustBundle)
            informer.on_change(lambda _before, _after: self._bundles_changed())
            self._bundles = self._watch(informer)
        await first_answer(self._parent.server, self._bundles.informer, "ClusterTrustBundles")
        return self._bundles.informer.items

    def end(self, item: Payload) -> None:
        """No pod names it any more."""
        if watch := self._watches.pop(item, None):
            watch.task.cancel()

    def _watch(self, informer: Informer[Any]) -> _Watch:
        return _Watch(informer, self._tasks.create_task(informer.run()))


async def first_answer(server: str, informer: Informer[Any], name: str) -> None:
    """Returns when the first list is complete. Raises UnreachableError, with the `name` of the list, after a while."""
    try:
        async with asyncio.timeout(_FIRST_ANSWER):
            await informer.synced.wait()
    except TimeoutError as error:
        raise UnreachableError(f"{server}: {name} could not be read in time") from error
