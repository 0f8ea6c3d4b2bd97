"""Watches over one member: probes it, collects signs of life, and leads it back when it answers again.

    probe, bytes of watches --> translate/state/health --> MemberState --> node, pods, conditions
    the parent's writes, the other members --> translate/state/freeze --+

The only writer of the health in MemberState. Ends when cancelled, and with ConfigError (ClusterUidChanged) if another
cluster answers in the member's place.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster
from vk_provider.errors import ConfigError, NotFoundError, RefusedError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Node, node_conditions
from vk_provider.kube.resources import NODES
from vk_provider.observable import Observable
from vk_provider.sync.state.lists import Lists, Watched
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.freeze import Freeze
from vk_provider.translate.state.health import Assessment, Health, State

log = logging.getLogger(__name__)


class Api(Protocol):
    """Interface: the member's API server; a kube.client.Client."""

    @property
    def last_sign_of_life(self) -> float: ...

    def end_watches(self) -> None: ...


class Probe(Protocol):
    """Interface: asks the member for a sign of life.

    Raises RefusedError if the member does not accept this process or there is no usable credential, and any other
    ConfigError if it is another cluster.
    """

    async def __call__(self, *, deadline: float) -> None: ...


class VirtualNode(Protocol):
    """Interface: a virtual node of the member.

    `renew_lease` proves whether the parent accepts writes. `outdated` and `out_of_sync` give what is not in order yet
    before a member that was away is Ready again; empty if nothing is.
    """

    def renew_lease(self) -> None: ...

    async def outdated(self) -> str: ...

    def out_of_sync(self) -> str: ...


async def initial_health(parent: Client, cluster: MemberCluster, now: float) -> Health:
    """The health with which a member starts to be served, at loop time `now`.

    A member whose virtual node is not Ready comes back: from a loss, or because it had no provider for a while.
    """
    away = any([await _ready(parent, node) in ("False", "Unknown") for node in cluster.node_names])
    reachable = cluster.status.condition(wellknown.REACHABLE)
    lost = reachable is not None and reachable.reason in (State.LOST, State.RETURNING)
    return Health(cluster.spec.health, now, returning=away, waited=not lost)


async def _ready(parent: Client, name: str) -> str:
    """Status of the Ready condition of a Node; empty if there is none yet."""
    try:
        node = await parent.get(NODES, name, type=Node)
    except NotFoundError:
        return ""
    ready = node_conditions(node).get("Ready")
    return ready.status if ready else ""


class HealthLoop:
    """Probes one member until it is cancelled."""

    def __init__(
        self,
        cluster: Observable[MemberCluster],
        member: Api,
        health: Health,
        state: MemberState,
        freeze: Freeze,
        nodes: Sequence[VirtualNode],
        probe: Probe,
        timestamp: Callable[[], str],
        lists: Sequence[Watched] = (),
    ) -> None:
        """`timestamp` gives the parent's time, RFC 3339. `lists`: those that everything needs."""
        self._cluster, self._name = cluster, cluster.value.metadata.name
        self._member, self._health, self._state, self._freeze = member, health, state, freeze
        self._nodes, self._probe, self._timestamp = nodes, probe, timestamp
        self._last_sign = timestamp(), health.last_sign_of_life  # the parent's time, and loop time
        self._lists, self._not_current = Lists(lists), ""
        self._round = 0.0  # loop time at which the previous round began
        state.last_sign_of_life = health.last_sign_of_life

    async def run(self) -> None:
        """Probes every `probeSeconds`, counted from the start of a probe."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            self._health.spec = self._cluster.value.spec.health
            await self._look()
            await self._judge()
            self._round = started
            await asyncio.sleep(max(0.0, started + self._health.spec.probe_seconds - loop.time()))

    async def _look(self) -> None:
        loop, before = asyncio.get_running_loop(), self._health.state
        try:
            await self._probe(deadline=self._health.spec.probe_seconds)
            found = self._lists.not_current(loop.time())
            if found is not None and (refusal := found.refusal) is not None:
                raise refusal
            self._health.answered(loop.time())
            self._not_current = str(found or "")
        except RefusedError as error:
            self._health.refused(loop.time(), _bare(error), answered=error.answered)
        except ConfigError:
            raise
        except VkError as error:
            self._lists.reset()
            # Also if it answers, but not as a working API server: it is not ready (5xx).
            self._health.failed(loop.time(), _bare(error))
        self._health.sign_of_life(self._member.last_sign_of_life)
        self._state.last_sign_of_life = self._health.last_sign_of_life
        if self._health.last_sign_of_life != self._last_sign[1]:
            self._last_sign = self._timestamp(), self._health.last_sign_of_life
        if before is State.LOST and self._health.state is State.RETURNING:
            self._member.end_watches()  # they may be dead without a sign: start them again
            self._state.mark_lists(current=False)

    async def _judge(self) -> None:
        health, now = self._health, asyncio.get_running_loop().time()
        if health.state in (State.SUSPECT, State.LOST):
            self._freeze.silent(self._name, now)
        else:
            self._freeze.answers(self._name)
        if health.state is State.SUSPECT:
            for node in self._nodes:
                node.renew_lease()
            proven = self._freeze.wrote_at >= self._round
        else:
            proven = True
        health.judge(now, frozen=bool(self._freeze.why), proven=proven, fenced=self._state.fenced)
        pending = ""
        if health.state is State.RETURNING:
            pending = await self._pending()
            if not pending and health.is_due(now):
                health.returned()
        self._assess(pending)

    async def _pending(self) -> str:
        """What is not in order yet in a member that returns; empty if nothing is."""
        try:
            if not self._state.lists_current:
                outdated = await asyncio.gather(*(node.outdated() for node in self._nodes))
                if found := next(filter(None, outdated), ""):
                    return found
                self._state.mark_lists(current=True)
        except VkError as error:
            return str(error)
        return next(filter(None, (node.out_of_sync() for node in self._nodes)), "")

    def _assess(self, pending: str) -> None:
        frozen = self._freeze.why if self._health.state is State.SUSPECT and not self._state.fenced else ""
        health = self._health
        stale = self._not_current if health.state is State.HEALTHY else ""
        found = Assessment(health.state, health.error, self._last_sign[0], frozen, pending, health.away, stale)
        if found.topic == self._state.health.topic:
            return  # what was reported of it is still true
        log.log(
            logging.INFO if found.reason in (State.HEALTHY, State.RETURNING) else logging.WARNING,
            "member health",
            extra={"member": self._name, "state": found.reason, "detail": found.reachable[2]},
        )
        self._state.assess(found)


def _bare(error: VkError) -> VkError:
    """The same error without its traceback: Health outlives this loop, and must not keep it and all that it uses."""
    return VkError(error.message, reason=error.reason, remedy=error.remedy)
