"""What has to be in order, for one virtual node, before a member that was away is Ready again.

    the pod caches of both sides are as new as a list made since --> many orphans have had their second look
      --> pods that have ended are reported, pods that were replaced or deleted in the parent are deleted in the member
      --> Ready

The pod loop does the work once the caches are current; this only checks whether it is done. What cannot be done does
not keep the node away: a pod that hangs in its deletion, a change that a server refuses again and again, and orphans
that wait for an administrator. It is reported instead, once for each return.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from vk_provider.errors import counted
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, PartialObject, Pod
from vk_provider.kube.resources import PODS
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.pods.orphans import out_of_sync, outdated

log = logging.getLogger(__name__)

_ATTEMPTS: Final = 8  # of the pod loop at one pod, with growing pauses, after which the node no longer waits for it
_NAMED: Final = 5  # pods that a report names


class Brake(Protocol):
    """Interface: which orphans are kept for now."""

    @property
    def looks_again(self) -> bool: ...

    def is_held(self, member_uid: str) -> bool: ...


class ReturnCheck:
    """See the module's text."""

    def __init__(
        self,
        parent: Client,
        member: Client,
        pods: PodCaches,
        brake: Brake,
        failures: Callable[[str], int],
        report: Callable[[str], None],
    ) -> None:
        """`failures`: of the pod loop in a row, by the key of the parent pod. `report` tells an administrator."""
        self._parent, self._member, self._pods = parent, member, pods
        self._brake, self._failures, self._report = brake, failures, report
        self._reported: frozenset[str] = frozenset()  # what did not wait, in this return

    async def outdated(self) -> str:
        """Which pod a cache shows older than its API server does; empty if none. Raises the servers' errors."""
        self._reported = frozenset()
        names = self._pods.names
        found = await asyncio.gather(
            _outdated(self._parent, self._pods.parent, {"fieldSelector": f"spec.nodeName={names.node}"}),
            _outdated(self._member, self._pods.member, {"labelSelector": names.selector}),
        )
        pod = next(filter(None, found), "")
        return f"the cached state of pod {pod} is outdated" if pod else ""

    def out_of_sync(self) -> str:
        """What still differs between both sides, and can be expected to end; empty if nothing does."""
        if self._brake.looks_again:
            return "too many of its pods are orphans"
        given_up = []
        for found in out_of_sync(self._pods.parent.items, self._pods.member.items.values(), self._pods.names):
            if self._brake.is_held(found.member_uid):
                continue
            if not found.hangs and self._failures(found.key) < _ATTEMPTS:
                return str(found)
            given_up.append(str(found))
        self._report_once(given_up)
        return ""

    def _report_once(self, given_up: list[str]) -> None:
        if new := sorted(frozenset(given_up) - self._reported):
            self._reported |= frozenset(new)
            more = f", and {counted(len(new) - _NAMED, 'more pod')}" if len(new) > _NAMED else ""
            detail = "; ".join(new[:_NAMED]) + more
            log.warning("node does not wait for pods", extra={"node": self._pods.names.node, "detail": detail})
            self._report(f"the node does not wait for what cannot be brought in sync: {detail}")


async def _outdated(client: Client, cache: Informer[Pod], query: dict[str, str]) -> str:
    listed: list[Metadata] = []
    version = ""
    async for page in client.pages(PODS, type=PartialObject, query=query):
        version = version or page.metadata.resource_version
        listed += [item.metadata for item in page.items]
    return outdated(cache.items, listed, version)
