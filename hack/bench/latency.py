"""The program's latency without load: from bound to created in the member, from Running there to Running here.

The times are from the audit logs of both API servers, which share one clock. A latency starts when one server has
answered the request that changed the pod, and ends when the other server receives the program's next request. So it
includes neither the time that the servers need for these requests nor the delay of an observer on a busy machine.

    create here (by the bench): answered ---------> received: create there
                                  status Running there (by kwok): answered ---------> received: status Running here
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from bench import burst, load
from bench.audit import AuditLog, Timed, timed
from bench.errors import BenchError
from bench.load import Watcher
from bench.measurements import percentile
from bench.pods import Group
from vk_provider.kube.client import Client

EVERY: Final = 0.2  # seconds between two pods
_LOG_DELAY: Final = 0.5  # seconds; the server writes the audit line after its answer


@dataclass(frozen=True)
class Latencies:
    """Seconds, one entry per pod."""

    created: list[float]
    running: list[float]

    def percentiles(self, share: float) -> tuple[float, float]:
        """The percentiles of both latencies. `share` is from 0 to 1."""
        return percentile(self.created, share), percentile(self.running, share)


async def stream(client: Client, here: Watcher, group: Group) -> None:
    """Creates pods at a slow rate. Returns when all of them are Running."""
    for manifest in group.manifests():
        began = time.monotonic()
        await load.create_pod(client, manifest)
        await asyncio.sleep(max(0.0, began + EVERY - time.monotonic()))
    await here.until_running(group, burst.patience(group))
    await asyncio.sleep(_LOG_DELAY)


def latencies(parent: AuditLog, member: AuditLog, group: Group, user: str) -> Latencies:
    """The latencies of a stream, from the log lines since the last reading. `user` is the program's name in the logs.

    Raises BenchError if a step of a pod is missing in the logs.
    """
    here, there = timed(parent.lines()), timed(member.lines())
    names = [f"{group.name}-{index}" for index in range(group.size)]
    bound = _first(entry for entry in here if entry.request.verb == "create" and entry.request.resource == "pods")
    created = _first(entry for entry in there if entry.request.verb == "create" and entry.request.resource == "pods")
    ran = _last(entry for entry in there if _writes_status(entry) and entry.request.user != user)
    shown = _last(entry for entry in here if _writes_status(entry) and entry.request.user == user)
    missing = [name for name in names if not all(name in found for found in (bound, created, ran, shown))]
    if missing:
        raise BenchError(f"the audit logs do not have all steps of {len(missing)} pods, such as {missing[0]}")
    return Latencies(
        created=[_seconds(created[name].received - bound[name].answered) for name in names],
        running=[_seconds(shown[name].received - ran[name].answered) for name in names],
    )


def _first(entries: Iterable[Timed]) -> dict[str, Timed]:
    found: dict[str, Timed] = {}
    for entry in entries:
        if entry.request.code < 300:
            found.setdefault(entry.name, entry)
    return found


def _last(entries: Iterable[Timed]) -> dict[str, Timed]:
    return {entry.name: entry for entry in entries if entry.request.code < 300}


def _writes_status(entry: Timed) -> bool:
    return entry.request.writes_pod and entry.request.resource == "pods/status"


def _seconds(span: timedelta) -> float:
    """The length of a span, at least 0: an event may arrive before the answer to the request that caused it."""
    return max(0.0, span.total_seconds())
