"""What the way through the parent costs an exec or a log, against the same made directly in the member.

Needs containers: a parent and a member with a real node, and the program under test between them.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench import process
from bench.errors import BenchError
from bench.execs import STATUS, STDOUT, Execs, outcome
from bench.figures import percentile
from bench.program import Program
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
_LOG_MEGABYTES: Final = 200
_TRANSFERS: Final = 3
IDLE: Final = 200
"""Sessions that only stay open."""


@dataclass(frozen=True)
class Streams:
    """`opened` is in seconds, the rates in MB/s; each through the parent and directly. `memory` is in MiB."""

    opened: tuple[float, float]
    rate: tuple[float, float]
    log_rate: tuple[float, float]
    memory: float

    @property
    def share(self) -> float:
        """Of the throughput that is due: 100 MB/s, or half of the direct one where that is less."""
        return self.rate[0] / min(100.0, self.rate[1] / 2)


async def run(
    parent: Client, member: Client, kubeconfigs: tuple[Path, Path], node: str, program: Program, samples: int
) -> Streams:
    """`kubeconfigs` are those of the parent and of the member; the virtual node is Ready. Raises BenchError."""
    await _pod(parent, node)
    here, there = [Execs(file, NAMESPACE, _POD) for file in kubeconfigs]
    async with here, there:
        opened = await _opened(here, there, samples)
        rates = [(await _rate(here), await _rate(there)) for _ in range(_TRANSFERS)]
        logs = [(await _log_rate(parent), await _log_rate(member)) for _ in range(_TRANSFERS)]
        streams = await asyncio.gather(*(here.open("cat") for _ in range(IDLE)))
        memory = process.memory_bytes(program.pids()) / 2**20
        await asyncio.gather(*(stream.close() for stream in streams))
    return Streams(opened, _best(rates), _best(logs), memory)


def _best(rates: list[tuple[float, float]]) -> tuple[float, float]:
    """Whatever disturbs only ever slows down."""
    return max(rate for rate, _ in rates), max(rate for _, rate in rates)


async def _opened(here: Execs, there: Execs, samples: int) -> tuple[float, float]:
    """Seconds from the request until the stream is open, p50; in turns, so that both meet the same disturbances."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(samples + 2):
        for execs, times in zip((here, there), found, strict=True):
            began = time.monotonic()
            stream = await execs.open("true")
            if number >= 2:  # the first ones ask for permission, and make connections
                times.append(time.monotonic() - began)
            _, status = await outcome(stream)
            if json.loads(status or "{}").get("status") != "Success":
                raise BenchError(f"true did not run in the container, which says: {status.decode(errors='replace')}")
    return percentile(found[0], 0.5), percentile(found[1], 0.5)


async def _rate(execs: Execs) -> float:
    """MB/s out of a container."""
    stream = await execs.open("head", "-c", f"{_MEGABYTES}000000", "/dev/zero")
    began, received, status = time.monotonic(), 0, b""
    async for message in stream:
        received += len(message.data) - 1 if message.data[0] == STDOUT else 0
        status += message.data[1:] if message.data[0] == STATUS else b""
    if received != _MEGABYTES * 1_000_000:
        said = status.decode(errors="replace")
        raise BenchError(f"{received} bytes of {_MEGABYTES} MB came out of the container, which says: {said}")
    return received / 1e6 / (time.monotonic() - began)


async def _log_rate(client: Client) -> float:
    """MB/s of a log that is followed."""
    path = f"{PODS.path(_POD, NAMESPACE, 'log')}?follow=true"
    began, received = time.monotonic(), 0
    async with await client.open("GET", path) as response:
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if received >= _LOG_MEGABYTES * 1_000_000:
                break
    return received / 1e6 / (time.monotonic() - began)


async def _pod(parent: Client, node: str) -> None:
    """A pod that runs; its namespace may get its service account only now."""
    script = f"yes {'x' * 999} | head -c {_LOG_MEGABYTES}000000; sleep 100000"
    container = {"name": "main", "image": _IMAGE, "command": ["sh", "-c", script]}
    spec: dict[str, Any] = {"nodeName": node, "containers": [container], "automountServiceAccountToken": False}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}
    try:
        async with asyncio.timeout(_RUNS_WITHIN):
            while not await _runs(parent):
                try:
                    await parent.request("POST", PODS.path(namespace=NAMESPACE), body=encode(manifest))
                except (ForbiddenError, ConflictError):  # no service account yet; it is there already
                    pass
                await asyncio.sleep(_LOOK)
    except TimeoutError as error:
        raise BenchError(f"pod {NAMESPACE}/{_POD} does not run within {_RUNS_WITHIN:.0f} s") from error


async def _runs(parent: Client) -> bool:
    try:
        return pod_phase(await parent.get(PODS, _POD, NAMESPACE, type=Pod)).phase == "Running"
    except NotFoundError:
        return False
