"""The Lease of the virtual node: the provider's sign of life to the parent, and the parent's to the provider.

Owns the Lease. How each renewal went is told to the freeze: who cannot write to the parent judges nobody. Where one got
no answer and a later one does, the watches that have been silent meanwhile are begun anew: they may be dead without a
sign (a kubelet closes its connections for the same reason). A Lease that is older than what was written last is told to
all who watch the parent: its etcd was restored from a backup, however far its versions have come since. Ends when
cancelled. (https://kubernetes.io/docs/reference/node/node-status/#heartbeats)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final

from vk_provider.errors import ApiError, ConflictError, NotFoundError, UnreachableError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject, newer
from vk_provider.kube.resources import LEASES
from vk_provider.translate.state.freeze import Freeze

log = logging.getLogger(__name__)

_EVERY: Final = 10.0  # seconds
_LIFE: Final = 40  # seconds
_SLOW: Final = 5.0  # seconds for a renewal from which on the parent counts as slow
_NAMESPACE: Final = "kube-node-lease"


class LeaseLoop:
    """See the module's text. `uid` gives that of the Node; `missing` is called where there was no Lease."""

    def __init__(
        self, node: str, parent: Client, freeze: Freeze, *, uid: Callable[[], str], missing: Callable[[], None]
    ) -> None:
        self._node, self._parent, self._freeze = node, parent, freeze
        self._uid, self._missing = uid, missing
        # The resourceVersion of the last renewal, and how often the parent had gone back in time by then.
        self._written = "", parent.restores
        self._hurry = asyncio.Event()

    def renew(self) -> None:
        """Renews it now, so that the freeze hears whether the parent takes a write."""
        self._hurry.set()

    async def run(self) -> None:
        """Renews until cancelled."""
        loop, failures = asyncio.get_running_loop(), 0  # in a row
        unanswered = 0.0  # loop time of the last failure that was no answer, since the last success
        while True:
            started = loop.time()
            self._hurry.clear()
            slow = loop.call_later(_SLOW, self._tell, f"a write takes more than {_SLOW:.0f} s")
            try:
                await self._renew()
                took = loop.time() - started
                self._tell(f"a write took {took:.0f} s" if took > _SLOW else "")
                if unanswered:
                    self._parent.end_watches(silent_since=unanswered)
                failures, unanswered = 0, 0.0
            except VkError as error:
                failures += 1
                unanswered = loop.time() if isinstance(error, UnreachableError) else unanswered
                level = logging.WARNING if failures == 1 or failures % 30 == 0 else logging.DEBUG
                log.log(level, "lease not renewed", extra={"node": self._node, "error": str(error)})
                if not isinstance(error, ApiError) or error.status >= 500 or error.status == 429:
                    self._tell(str(error))
            finally:
                slow.cancel()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(loop.time() + 1.0, started + _EVERY)):
                    await self._hurry.wait()

    def _tell(self, trouble: str) -> None:
        self._freeze.parent(asyncio.get_running_loop().time(), trouble)

    async def _renew(self) -> None:
        try:
            try:
                written = await _write(self._parent, self._node, self._written[0])
            except ConflictError:
                await self._compare()
                written = await _write(self._parent, self._node)
        except NotFoundError:
            self._missing()  # gone with its Node, perhaps: a status write tells, and brings both back
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": self._uid()}
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self._node, "ownerReferences": [owner]},
                "spec": _spec(self._parent, self._node),
            }
            written = await self._parent.create(LEASES, body, _NAMESPACE, type=PartialObject)
        self._written = written.metadata.resource_version, self._parent.restores

    async def _compare(self) -> None:
        """The Lease is not as it was written last: somebody else has written it since, or that never happened."""
        found = await self._parent.get(LEASES, self._node, _NAMESPACE, type=PartialObject)
        version, restores = self._written
        if newer(version, found.metadata.resource_version) and restores == self._parent.restores:
            log.warning("server went back in time", extra={"lease": self._node, "server": self._parent.server})
            self._parent.note_restore()


async def renew(parent: Client, node: str) -> None:
    """Renews the Lease of a node whose member cannot be served now, so that Kubernetes does not give it up while losses
    are frozen. Never raises; a Lease that is not there is left so."""
    try:
        await _write(parent, node)
    except VkError as error:
        log.warning("lease not renewed", extra={"node": node, "error": str(error)})


async def _write(parent: Client, node: str, version: str = "") -> PartialObject:
    """Raises ConflictError where the Lease is another version than that."""
    metadata = {"metadata": {"resourceVersion": version}} if version else {}
    return await parent.patch(LEASES, node, metadata | {"spec": _spec(parent, node)}, _NAMESPACE, type=PartialObject)


def _spec(parent: Client, node: str) -> dict[str, object]:
    return {
        "holderIdentity": node,
        "leaseDurationSeconds": _LIFE,
        "renewTime": parent.server_time().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    }
