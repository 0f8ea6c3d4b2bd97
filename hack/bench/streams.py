"""Execs and logs through the parent, and the same directly in the member.

Needs containers: a parent and a member with a real node, and the program under test between them. The rows with
limits are ratios of the two.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.errors import BenchError
from bench.execs import STATUS, STDOUT, Execs, outcome
from bench.measurements import percentile
from bench.meter import Meter
from vk_provider.errors import ConflictError, ForbiddenError, NotFoundError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Pod, encode, pod_phase
from vk_provider.kube.resources import PODS

NAMESPACE: Final = "default"
_POD: Final = "streams"
_IMAGE: Final = "busybox:1.36"
_RUNS_WITHIN: Final = 120.0  # seconds
_LOOK: Final = 0.2  # seconds
_MEGABYTES: Final = 100  # of one transfer
_BLOCK: Final = 50_000  # bytes of one write: the number of small blocks that arrive together depends on the load
_LOG_MEGABYTES: Final = 100
_ROUNDS: Final = 5  # of each kind of work, so that both sides run under the same conditions
_WARM_UP: Final = 2  # execs
IDLE: Final = 200
"""Idle sessions that stay open."""


@dataclass(frozen=True)
class Sides:
    """The same work, in turn through the parent and directly in the member.

    `parent`, `direct`: seconds or MB/s of each repetition. `own_cpu`: CPU seconds of the program for all repetitions
    through the parent; `direct_cpu`: those of the member's processes for all direct ones.
    """

    parent: list[float]
    direct: list[float]
    own_cpu: float
    direct_cpu: float

    @property
    def cpu_ratio(self) -> float:
        return self.own_cpu / self.direct_cpu

    def least(self) -> tuple[float, float]:
        """The smallest value of each side, to compare seconds: other load only increases them."""
        return min(self.parent), min(self.direct)

    def most(self) -> tuple[float, float]:
        """The largest value of each side, to compare rates."""
        return max(self.parent), max(self.direct)

    def median(self) -> tuple[float, float]:
        return percentile(self.parent, 0.5), percentile(self.direct, 0.5)


@dataclass(frozen=True)
class Streams:
    """`opened` is in seconds, the rates are in MB/s, `memory` is in MiB."""

    opened: Sides
    rate: Sides
    log_rate: Sides
    memory: float


async def run(
    parent: Client, member: Client, kubeconfigs: tuple[Path, Path], node: str, meter: Meter, samples: int
) -> Streams:
    """Runs all streams. `kubeconfigs` are those of parent and member, `meter` measures the program and the member.

    The virtual node must be Ready. Raises BenchError.
    """
    await _pod(parent, node)
    here, there = [Execs(file, NAMESPACE, _POD) for file in kubeconfigs]
    async with here, there:
        for execs in (here, there) * _WARM_UP:  # the first ones include a review of permissions and new connections
            await _opened(execs)
        opened = await _in_turn(meter, samples // _ROUNDS, lambda: _opened(here), lambda: _opened(there))
        rate = await _in_turn(meter, 1, lambda: _rate(here), lambda: _rate(there))
        log_rate = await _in_turn(meter, 1, lambda: _log_rate(parent), lambda: _log_rate(member))
        streams = await asyncio.gather(*(here.open("cat") for _ in range(IDLE)))
        memory = meter.memory_mib()
        await asyncio.gather(*(stream.close() for stream in streams))
    return Streams(opened, rate, log_rate, memory)


async def _in_turn(
    meter: Meter, times: int, parent: Callable[[], Awaitable[float]], direct: Callable[[], Awaitable[float]]
) -> Sides:
    """In each round, runs the work `times` times through the parent, and then directly."""
    through: list[float] = []
    directly: list[float] = []
    own_cpu = direct_cpu = 0.0
    for _ in range(_ROUNDS):
        before = meter.own_cpu()
        through += [await parent() for _ in range(times)]
        own_cpu += meter.own_cpu() - before
        before = meter.cluster_cpu()
        directly += [await direct() for _ in range(times)]
        direct_cpu += meter.cluster_cpu() - before
    return Sides(through, directly, own_cpu, direct_cpu)


async def _opened(execs: Execs) -> float:
    """Seconds from the request until the stream is open."""
    began = time.monotonic()
    stream = await execs.open("true")
    seconds = time.monotonic() - began
    _, status = await outcome(stream)
    if json.loads(status or "{}").get("status") != "Success":
        raise BenchError(f"true did not run in the container: {status.decode(errors='replace')}")
    return seconds


async def _rate(execs: Execs) -> float:
    """MB/s from a container to this process."""
    stream = await execs.open("dd", "if=/dev/zero", f"bs={_BLOCK}", f"count={_MEGABYTES * 1_000_000 // _BLOCK}")
    began, received, status = time.monotonic(), 0, b""
    async for message in stream:
        received += len(message.data) - 1 if message.data[0] == STDOUT else 0
        status += message.data[1:] if message.data[0] == STATUS else b""
    if received != _MEGABYTES * 1_000_000:
        reason = status.decode(errors="replace")
        raise BenchError(f"the container sent {received} bytes instead of {_MEGABYTES} MB: {reason}")
    return received / 1e6 / (time.monotonic() - began)


async def _log_rate(client: Client) -> float:
    """MB/s of a followed log."""
    path = f"{PODS.path(_POD, NAMESPACE, 'log')}?follow=true"
    began, received = time.monotonic(), 0
    async with await client.open("GET", path) as response:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if received >= _LOG_MEGABYTES * 1_000_000:
                break
    return received / 1e6 / (time.monotonic() - began)


async def _pod(parent: Client, node: str) -> None:
    """Creates the pod as soon as its namespace has a service account. Returns when the pod runs."""
    script = f"yes {'x' * 999} | head -c {_LOG_MEGABYTES}000000; sleep 100000"
    container = {"name": "main", "image": _IMAGE, "command": ["sh", "-c", script]}
    spec: dict[str, Any] = {"nodeName": node, "containers": [container], "automountServiceAccountToken": False}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}
    try:
        async with asyncio.timeout(_RUNS_WITHIN):
            while not await _runs(parent):
                try:
                    await parent.request("POST", PODS.path(namespace=NAMESPACE), body=encode(manifest))
                except (ForbiddenError, ConflictError):  # no service account yet; the pod already exists
                    pass
                await asyncio.sleep(_LOOK)
    except TimeoutError as error:
        raise BenchError(f"pod {NAMESPACE}/{_POD} is not Running within {_RUNS_WITHIN:.0f} s") from error


async def _runs(parent: Client) -> bool:
    try:
        return pod_phase(await parent.get(PODS, _POD, NAMESPACE, type=Pod)).phase == "Running"
    except NotFoundError:
        return False
