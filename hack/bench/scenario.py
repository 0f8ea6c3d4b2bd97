"""The phases of a run, with the program under test between a parent and one member.

    ready -- memory -- warm-up -- a slow stream (latency) -- (plain burst) -- burst -- memory -- idle
      -- events without an effect -- delete -- (plain burst) -- [burst with tokens -- delete]
      -- many pods -- memory -- restart -- memory -- delete

CPU and requests of a phase are counted until the program is idle again, so that deferred work counts, too. Stalls of
the event loop are measured while pods are created and deleted, except while CPU per pod is measured.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import msgspec

from bench import audit, burst, clusters, latency, load
from bench.audit import Purpose, Request
from bench.burst import IDLE_CLUSTERS, WARM_UP, Burst
from bench.clusters import MEMBER, PARENT
from bench.errors import BenchError
from bench.load import Watcher
from bench.measurements import Measurements
from bench.meter import Measured, Meter
from bench.plain import PlainCluster
from bench.pods import Group
from bench.program import Program
from bench.receive import Received
from vk_provider.kube.client import Client

_IDLE: Final = 1.0  # idle seconds that end a phase
_IDLE_AFTER_RESTART: Final = 3.0
_IDLE_WITHIN: Final = 300.0

Say = Callable[[str], AbstractContextManager[None]]


@dataclass(frozen=True)
class Sizes:
    """Numbers of pods, and `idle` in seconds. `large` 0: no run with more pods than `pods`."""

    pods: int
    large: int
    stream: int
    idle: float
    tokens: bool

    @property
    def most(self) -> int:
        return max(self.pods, self.large)


@dataclass
class Found:
    """The results of a run so far."""

    measurements: Measurements = field(default_factory=Measurements)
    phases: dict[str, Measured] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


class Scenario:
    """One run. `ours`: the program is this provider; some rows cannot be measured for other programs."""

    def __init__(
        self,
        program: Program,
        meter: Meter,
        parent: tuple[Client, Watcher],
        member: tuple[Client, Watcher],
        plain: PlainCluster,
        *,
        node: str,
        sizes: Sizes,
        ours: bool,
        member_kubeconfig: Path,
        say: Say,
    ) -> None:
        self._program, self._meter = program, meter
        self._parent, self._here = parent
        self._member, self._there = member
        self._plain = plain
        self._node, self._sizes, self._ours, self._say = node, sizes, ours, say
        self._member_kubeconfig = member_kubeconfig
        self.found = Found()

    async def run(self) -> None:
        """All phases, in order. Raises BenchError if one cannot be measured."""
        with self._say(f"waiting for virtual node {self._node}"):
            await clusters.until_ready(self._parent, self._node)
            await self._plain.prepare()
            await self._until_idle()
        self._memory("memory_before", 0)
        with self._say(f"{self._sizes.stream} pods in a slow stream"):
            await self._latency()
        idle = await self._idle("idle clusters", IDLE_CLUSTERS)
        await self._plain_burst()
        await self._burst(idle)
        await self._plain_burst()
        self._compare()
        if self._sizes.tokens:
            await self._burst_with_tokens()
        await self._many()

    async def _latency(self) -> None:
        warm_up = Group("warm-up", WARM_UP, self._node)
        await burst.make(self._parent, self._here, warm_up)
        await burst.end(self._parent, [self._here, self._there], warm_up)
        group = Group("stream", self._sizes.stream, self._node)
        logs = self._meter.logs()
        made = await self._meter.measure(latency.stream(self._parent, self._here, group))
        found = latency.latencies(logs[PARENT], logs[MEMBER], group, self._meter.user)
        self._requests("requests_slow", made + await self._gone("stream", group), group, Purpose.POD_LIFE)
        for name, share in (("p50", 0.5), ("p99", 0.99)):
            created, running = found.percentiles(share)
            self.found.measurements.add(f"created_{name}", created * 1000, group.size)
            self.found.measurements.add(f"running_{name}", running * 1000, group.size)
        self.found.details["latencies"] = msgspec.to_builtins(found)

    async def _burst(self, idle: Measured) -> None:
        pods, add = self._sizes.pods, self.found.measurements.add
        group = Group("burst", pods, self._node)
        with self._say(f"burst: {pods} pods to Running"):
            made, seen = await self._made("burst", group)
        self._memory("memory_pods", pods)
        add("burst_rate", seen.rate, pods)
        add("burst_p50", seen.p50, pods)
        with self._say(f"idle with {pods} pods: {self._sizes.idle:.0f} s"):
            resting = await self._idle("idle", self._sizes.idle)
        add("idle_cpu", resting.own_cpu / resting.seconds * 100, pods)
        written = sum(audit.writes(requests) for requests in self._meter.own(resting).values())
        add("idle_writes", written / resting.seconds * 60, pods)
        with self._say("changes without an effect"):
            touched = await self._phase("touch", load.touch(self._member, self._there, group, "bench"))
        add("event_cpu", touched.beyond(resting).own_cpu / pods * 1e6, pods)
        with self._say(f"burst: {pods} pods deleted"):
            life = made + await self._gone("burst", group)
        add("own_cpu", life.own_cpu / pods * 1000, pods)
        add("everything_cpu", life.beyond(idle).everything_cpu / pods * 1000, pods)
        self._requests("requests", life, group, Purpose.POD_LIFE)

    async def _plain_burst(self) -> None:
        with self._say(f"{self._sizes.pods} pods in a plain cluster"):
            await self._plain.burst(self._sizes.pods)

    def _compare(self) -> None:
        """The plain cluster, and the ratios to it."""
        pods, add, value = self._sizes.pods, self.found.measurements.add, self.found.measurements.value
        plain = self._plain.life * 1000
        add("plain_cpu", plain, pods)
        add("plain_rate", max(burst.rate for burst in self._plain.bursts), pods)
        add("own_cpu_share", value("own_cpu") / plain, pods)
        add("everything_ratio", value("everything_cpu") / plain, pods)
        self.found.phases |= self._plain.phases

    async def _burst_with_tokens(self) -> None:
        pods, add = self._sizes.pods, self.found.measurements.add
        group = Group("tokens", pods, self._node, tokens=True)
        with self._say(f"burst with service account tokens: {pods} pods to Running, and deleted"):
            made, _ = await self._made("tokens", group)
            life = made + await self._gone("tokens", group)
        add("own_cpu_tokens", life.own_cpu / pods * 1000, pods)
        self._requests("requests_tokens", life, group, Purpose.POD_LIFE, Purpose.DEPENDENTS)

    async def _many(self) -> None:
        pods = self._sizes.most
        group = Group("many", pods, self._node)
        self._program.begin_stalls()
        with self._say(f"{pods} pods to Running, watched for stalls"):
            await self._made("many", group)
        rising = await self._program.end_stalls()
        if self._sizes.large:
            self._memory("memory_large", pods)
        with self._say("receiving watch events"):
            await self._receive(group)
        with self._say(f"restart with {pods} pods"):
            await self._restart(pods)
        self._memory("memory_restarted", pods)
        self._program.begin_stalls()
        with self._say(f"{pods} pods deleted, watched for stalls"):
            await self._gone("many", group)
        falling = await self._program.end_stalls()
        seen = [stalls for stalls in (rising, falling) if stalls is not None]
        add = self.found.measurements.add
        add("stall", max(stalls.cpu for stalls in seen) * 1000 if seen else None, pods)
        add("stall_wall", max(stalls.wall for stalls in seen) * 1000 if seen else None, pods)

    async def _receive(self, group: Group) -> None:
        if not self._ours:
            self.found.measurements.add("receive_ratio", None, group.size)
            return
        arguments = ["-m", "bench.receive", str(self._member_kubeconfig), group.selector]
        code, output = await clusters.run_python(arguments)
        if code:
            raise BenchError(f"bench.receive: {output}")
        received = msgspec.json.decode(output, type=Received)
        add = self.found.measurements.add
        add("receive_cpu", received.cpu * 1e6, received.events)
        add("receive_bare_cpu", received.bare * 1e6, received.events)
        add("receive_ratio", received.cpu / received.bare, received.events)

    async def _restart(self, pods: int) -> None:
        synced = 0.0

        async def again() -> None:
            nonlocal synced
            await self._program.kill()
            began = time.monotonic()
            await self._program.start()
            synced = await self._meter.until_idle(_IDLE_AFTER_RESTART, _IDLE_WITHIN) - began

        measured = await self._meter.measure(again())
        measured = replace(measured, own_cpu=self._meter.own_cpu())  # only of the new process
        self.found.phases["restart"] = measured
        requests = sum(self._meter.own(measured).values(), Counter[Request]())
        add = self.found.measurements.add
        add("restart_time", synced, pods)
        add("restart_cpu", measured.own_cpu, pods)
        add("restart_requests", sum(requests.values()), pods)
        add("restart_writes", sum(count for request, count in requests.items() if request.writes_pod), pods)

    async def _made(self, phase: str, group: Group) -> tuple[Measured, Burst]:
        async def work() -> Burst:
            result = await burst.make(self._parent, self._here, group)
            await self._until_idle()
            return result

        measured, seen = await self._meter.result(work())
        self.found.phases[f"{phase} create"] = measured
        return measured, seen

    async def _gone(self, phase: str, group: Group) -> Measured:
        return await self._phase(f"{phase} delete", burst.end(self._parent, [self._here, self._there], group))

    async def _phase(self, name: str, work: Awaitable[object]) -> Measured:
        """One phase: the work, until the program is idle again."""

        async def until_idle() -> None:
            await work
            await self._until_idle()

        measured = await self._meter.measure(until_idle())
        self.found.phases[name] = measured
        return measured

    async def _idle(self, name: str, seconds: float) -> Measured:
        measured = await self._meter.measure(asyncio.sleep(seconds))
        self.found.phases[name] = measured
        return measured

    async def _until_idle(self) -> None:
        await self._meter.until_idle(_IDLE, _IDLE_WITHIN)

    def _requests(self, key: str, life: Measured, group: Group, *purposes: Purpose) -> None:
        """The program's requests per pod of the group, from its creation to its deletion."""
        own = self._meter.own(life)
        for side, cluster in (("parent", PARENT), ("member", MEMBER)):
            self.found.measurements.add(f"{side}_{key}", audit.count(own[cluster], *purposes) / group.size, group.size)

    def _memory(self, key: str, pods: int) -> None:
        self.found.measurements.add(key, self._meter.memory_mib(), pods)
