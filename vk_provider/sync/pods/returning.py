"""What has to be in order, for one virtual node, before a member that was away is Ready again.

    the pod caches of both sides are as new as a list made since --> no orphans are held --> pods that have ended are
      reported, pods that were replaced or deleted in the parent are deleted in the member --> Ready

The pod loop does the work once the caches are current; this only checks whether it is done.
"""

from __future__ import annotations

import asyncio

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, PartialObject, Pod
from vk_provider.kube.resources import PODS
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.pods.orphans import out_of_sync, outdated


class ReturnCheck:
    """See the module's text."""

    def __init__(self, parent: Client, member: Client, pods: PodCaches) -> None:
        self._parent, self._member, self._pods = parent, member, pods

    async def outdated(self) -> str:
        """Which pod a cache shows older than its API server does; empty if none. Raises the servers' errors."""
        names = self._pods.names
        found = await asyncio.gather(
            _outdated(self._parent, self._pods.parent, {"fieldSelector": f"spec.nodeName={names.node}"}),
            _outdated(self._member, self._pods.member, {"labelSelector": names.selector}),
        )
        pod = next(filter(None, found), "")
        return f"the cached state of pod {pod} is outdated" if pod else ""

    def out_of_sync(self) -> str:
        """What still differs between both sides; empty if nothing does."""
        return out_of_sync(self._pods.parent.items, self._pods.member.items.values(), self._pods.names)


async def _outdated(client: Client, cache: Informer[Pod], query: dict[str, str]) -> str:
    listed: list[Metadata] = []
    version = ""
    async for page in client.pages(PODS, type=PartialObject, query=query):
        version = version or page.metadata.resource_version
        listed += [item.metadata for item in page.items]
    return outdated(cache.items, listed, version)
