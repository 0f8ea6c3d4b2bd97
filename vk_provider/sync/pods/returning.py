"""What has to be in order before a member that was away is Ready again.

    both caches are as new as a list made since --> nothing is held as too many orphans --> ended pods are reported,
      what was replaced or deleted is deleted in the member --> Ready

The pod loop does the work once the caches are fresh; this looks whether it is done. Owns whether they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, PartialObject, Pod
from vk_provider.kube.resources import PODS
from vk_provider.translate.names import Names
from vk_provider.translate.pods.orphans import behind, unsettled


class Return:
    """See the module's text. `holding` tells whether orphans are held; `refreshed` is called when caches are fresh."""

    def __init__(
        self,
        names: Names,
        parent: Client,
        member: Client,
        parent_pods: Informer[Pod],
        member_pods: Informer[Pod],
        *,
        holding: Callable[[], bool],
        refreshed: Callable[[], None],
    ) -> None:
        self._names, self._parent, self._member = names, parent, member
        self._parent_pods, self._member_pods = parent_pods, member_pods
        self._holding, self._refreshed = holding, refreshed
        self.fresh = True  # whether both caches are as new as a list made since the member answers

    def begin(self) -> None:
        """The member answers again: what was seen before is old."""
        self.fresh = False

    async def missing(self) -> str:
        """What is not in order yet; empty: nothing. Raises the errors of the API servers."""
        if not self.fresh:
            query = {"fieldSelector": f"spec.nodeName={self._names.node}"}
            stale = await asyncio.gather(
                _behind(self._parent, self._parent_pods, query),
                _behind(self._member, self._member_pods, {"labelSelector": self._names.selector}),
            )
            if found := next(filter(None, stale), ""):
                return f"what is known of pod {found} is old"
            self.fresh = True
            self._refreshed()
        if self._holding():
            return "too many of its pods are orphans"
        return unsettled(self._parent_pods.items, self._member_pods.items.values(), self._names)


async def _behind(client: Client, cache: Informer[Pod], query: dict[str, str]) -> str:
    listed: list[Metadata] = []
    version = ""
    async for page in client.pages(PODS, type=PartialObject, query=query):
        version = version or page.metadata.resource_version
        listed += [item.metadata for item in page.items]
    return behind(cache.items, listed, version)
