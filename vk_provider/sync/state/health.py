"""Watches over one member: probes it, gathers signs of life, and leads it back when it answers again.

    probe, bytes of watches --> translate/health --> belief --> `changed` (node, pods, report)
    the parent's writes, the other members --> translate/freeze --+

Owns the belief. `changed` is awaited with the state before, after each change of it and before the next probe. Ends
when cancelled, and where another cluster answers under the member's name (ConfigError ClusterUidChanged).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from vk_provider.errors import ConfigError, VkError
from vk_provider.translate.state.freeze import Freeze
from vk_provider.translate.state.health import Belief, Health, State, figures

log = logging.getLogger(__name__)


class Api(Protocol):
    """Port: the member's API server; a kube.client.Client."""

    @property
    def heard_at(self) -> float: ...

    def end_watches(self) -> None: ...


class Return(Protocol):
    """Port: what has to be in order before a member is Ready again."""

    def begin(self) -> None: ...

    async def missing(self) -> str: ...


class HealthLoop:
    """See the module's text."""

    def __init__(
        self,
        name: str,
        node: str,
        member: Api,
        health: Health,
        freeze: Freeze,
        *,
        probe: Callable[[float], Awaitable[None]],
        returning: Return,
        prove_parent: Callable[[], None],
        timestamp: Callable[[], str],
        changed: Callable[[State], Awaitable[None]],
    ) -> None:
        """`probe` asks the member, with a deadline in seconds; `prove_parent` has the parent asked to take a write;
        `timestamp` is the parent's time."""
        self.health, self.belief = health, Belief(health.state)
        self.fenced = False  # somebody has stated that the member is down
        self._name, self._node, self._member, self._freeze = name, node, member, freeze
        self._probe, self._returning = probe, returning
        self._prove_parent, self._timestamp, self._changed = prove_parent, timestamp, changed
        self._heard = timestamp(), health.heard_at  # the last sign of life as people read it, and its loop time
        self._round = 0.0  # loop time at which the round before this one began

    async def run(self) -> None:
        """One probe every `probeSeconds`, counted from its start."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            await self._look()
            await self._judge()
            self._round = started
            await asyncio.sleep(max(0.0, started + self.health.spec.probe_seconds - loop.time()))

    def figures(self) -> str:
        """What is believed, for Prometheus."""
        return figures(self._name, self._node, self.belief, asyncio.get_running_loop().time() - self.health.heard_at)

    async def _look(self) -> None:
        loop, was = asyncio.get_running_loop(), self.health.state
        try:
            await self._probe(self.health.spec.probe_seconds)
            self.health.answered(loop.time())
        except ConfigError:
            raise
        except VkError as error:
            # Also where it answers, but not as a working API server: not ready (5xx), or it does not know us (401).
            self.health.failed(loop.time(), error)
        self.health.heard(self._member.heard_at)
        if self.health.heard_at != self._heard[1]:
            self._heard = self._timestamp(), self.health.heard_at
        if was is State.LOST and self.health.state is State.RETURNING:
            self._member.end_watches()  # they may be dead without a sign: start them anew
            self._returning.begin()

    async def _judge(self) -> None:
        health, now = self.health, asyncio.get_running_loop().time()
        if health.state in (State.SUSPECT, State.LOST):
            self._freeze.doubt(self._name, now)
        else:
            self._freeze.trust(self._name)
        if health.state is State.SUSPECT:
            self._prove_parent()
            proven = self._freeze.wrote_at >= self._round
        else:
            proven = True
        health.judge(now, frozen=bool(self._freeze.why), proven=proven, fenced=self.fenced)
        missing = ""
        if health.state is State.RETURNING:
            try:
                missing = await self._returning.missing()
            except VkError as error:
                missing = str(error)
            if not missing and health.is_due(now):
                health.settled()
        await self._believe(missing)

    async def _believe(self, missing: str) -> None:
        frozen = self._freeze.why if self.health.state is State.SUSPECT and not self.fenced else ""
        before, self.belief = self.belief, Belief(self.health.state, self.health.error, self._heard[0], frozen, missing)
        if before.topic == self.belief.topic:
            self.belief = before  # what was said of it stays true
            return
        log.log(
            logging.INFO if self.belief.reachable[0] == "True" else logging.WARNING,
            "member health",
            extra={"member": self._name, "state": self.belief.reason, "detail": self.belief.reachable[2]},
        )
        await self._changed(before.state)
