"""The Lease of the virtual node: the provider's sign of life to the parent, and the parent's to the provider.

Owns the Lease. Every renewal reports to the freeze: a process that cannot write to the parent must not declare members
lost. If a renewal got no answer and a later one does, watches of the parent that have been silent since are started
again: they may be dead without a sign (a kubelet closes its connections for the same reason). A Lease that is older
than what was written last means that the parent's etcd was restored from a backup, even if its versions have caught up
since; all informers of the parent list again. An annotation names the process that has written the Lease: a second
process that serves the same node is reported by both. Ends when cancelled.
(https://kubernetes.io/docs/reference/node/node-status/#heartbeats)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from typing import Final, Protocol

from vk_provider.api import wellknown
from vk_provider.errors import ApiError, ConflictError, NotFoundError, UnreachableError, VkError
from vk_provider.kube.backoff import Backoff
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject, newer
from vk_provider.kube.resources import LEASES
from vk_provider.kube.timestamps import rfc3339_micro
from vk_provider.translate.state.freeze import Freeze

log = logging.getLogger(__name__)

_EVERY: Final = 10.0  # seconds
_SOON: Final = 0.2  # seconds; the first pause while the Node does not exist yet. Pauses double, as a kubelet's do
_LIFE: Final = 40  # seconds
_SLOW: Final = 5.0  # seconds for a renewal from which on the parent counts as slow
_RIVAL_AFTER: Final = 2  # renewals in a row of another process: the first may be the last one of a process that stops
PROCESS: Final = f"{socket.gethostname()}/{os.getpid()}"  # this one
_NAMESPACE: Final = "kube-node-lease"


class Node(Protocol):
    """Interface: the Node that the Lease is for; `changed` has it written, and registered again if it is gone."""

    @property
    def uid(self) -> str: ...

    def changed(self) -> None: ...

    def warn(self, reason: str, message: str) -> None: ...


class LeaseLoop:
    """Renews the Lease of one virtual node until it is cancelled."""

    def __init__(self, name: str, parent: Client, freeze: Freeze, node: Node, process: str = PROCESS) -> None:
        """`name` is that of the virtual node; `node` keeps its status, and registers it again if it is gone."""
        self._process, self._of_rival = process, 0  # renewals in a row that another process has made in between
        self._name, self._parent, self._freeze, self._node = name, parent, freeze, node
        # The resourceVersion of the last renewal, and how often the parent had been restored by then.
        self._written = "", parent.restores
        self._hurry = asyncio.Event()

    def renew(self) -> None:
        """Renews it now, so that the freeze learns whether the parent accepts a write."""
        self._hurry.set()

    async def run(self) -> None:
        """Renews until cancelled."""
        loop = asyncio.get_running_loop()
        backoff, until_node = Backoff(base=1.0, cap=_EVERY), _SOON
        unanswered = 0.0  # loop time of the last renewal without an answer since the last success
        while True:
            started = loop.time()
            self._hurry.clear()
            slow = loop.call_later(_SLOW, self._report, f"a write takes more than {_SLOW:.0f} s")
            try:
                await self._renew()
                took = loop.time() - started
                self._report(f"a write took {took:.0f} s" if took > _SLOW else "")
                if unanswered:
                    self._parent.end_watches(silent_since=unanswered)
                unanswered = 0.0
                backoff.succeeded()
            except VkError as error:
                backoff.failed()
                unanswered = loop.time() if isinstance(error, UnreachableError) else unanswered
                log.log(backoff.level, "lease not renewed", extra={"node": self._name, "error": str(error)})
                if not isinstance(error, ApiError) or error.status >= 500 or error.status == 429:
                    self._report(str(error))
            finally:
                slow.cancel()
            next_at = max(loop.time() + 1.0, started + _EVERY)
            if self._node.uid:
                until_node = _SOON
            else:  # until then, commands that wait for a Lease would say that no provider serves the node
                next_at, until_node = loop.time() + until_node, min(2 * until_node, _EVERY)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_at):
                    await self._hurry.wait()

    def _report(self, problem: str) -> None:
        self._freeze.parent(asyncio.get_running_loop().time(), problem)

    async def _renew(self) -> None:
        try:
            try:
                written = await _write(self._parent, self._name, self._written[0], self._process)
                self._of_rival = 0
            except ConflictError:
                await self._compare()
                written = await _write(self._parent, self._name, process=self._process)
        except NotFoundError:
            self._node.changed()  # gone with its Node, perhaps: a status write notices, and registers it again
            if not self._node.uid:
                return  # the Node comes first: it owns the Lease
            owner = {"apiVersion": "v1", "kind": "Node", "name": self._name, "uid": self._node.uid}
            body = {
                "apiVersion": LEASES.api_version,
                "kind": LEASES.kind,
                "metadata": {"name": self._name, "ownerReferences": [owner]},
                "spec": _spec(self._parent, self._name),
            }
            written = await self._parent.create(LEASES, body, _NAMESPACE, type=PartialObject)
        self._written = written.metadata.resource_version, self._parent.restores

    async def _compare(self) -> None:
        """Finds out why the Lease is not as it was written last: others have written it, or the write is undone."""
        found = await self._parent.get(LEASES, self._name, _NAMESPACE, type=PartialObject)
        version, restores = self._written
        if newer(version, found.metadata.resource_version) and restores == self._parent.restores:
            log.warning("server went back in time", extra={"lease": self._name, "server": self._parent.server})
            self._parent.note_restore()
        elif (rival := found.metadata.annotations.get(wellknown.PROCESS, "")) not in ("", self._process):
            self._report_rival(rival)

    def _report_rival(self, rival: str) -> None:
        """Once, until it no longer renews the Lease."""
        self._of_rival += 1
        if self._of_rival == _RIVAL_AFTER:
            message = f"another provider process, {rival}, serves this node too: stop one of them"
            log.error("another provider serves the same node", extra={"node": self._name, "other": rival})
            self._node.warn(wellknown.TWO_PROVIDERS, message)


async def _write(parent: Client, node: str, version: str = "", process: str = PROCESS) -> PartialObject:
    """Raises ConflictError where the Lease is another version than that."""
    metadata: dict[str, object] = {"annotations": {wellknown.PROCESS: process}}
    if version:
        metadata["resourceVersion"] = version
    body = {"metadata": metadata, "spec": _spec(parent, node)}
    return await parent.patch(LEASES, node, body, _NAMESPACE, type=PartialObject)


def _spec(parent: Client, node: str) -> dict[str, object]:
    return {
        "holderIdentity": node,
        "leaseDurationSeconds": _LIFE,
        "renewTime": rfc3339_micro(parent.server_time()),
    }
