"""Metrics of the member's nodes, through the node proxy of the member's API server.

    scrape -> GET from all nodes in parallel -> read each answer -> one answer for the virtual node

A node without a usable answer is skipped and counted; the scrape fails only if no node has a usable answer. A scrape
that arrives while another one of the same path runs shares its answer. Nothing is cached beyond that: scrapers compute
rates, and an old answer with a new time would falsify them.

Nodes answer in parallel, but their answers are read one at a time and in short steps, so that other members' loops
run in between, however large the answers are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Final, Protocol, TypeVar
from urllib.parse import quote

from vk_provider.errors import UnreachableError, VkError
from vk_provider.kubelet.backend import Pods
from vk_provider.translate.kubelet.metrics import Find, Scrape, Series, find_ours, merged
from vk_provider.translate.kubelet.prometheus import MalformedError
from vk_provider.translate.kubelet.stats import NodeStats, Path, summed
from vk_provider.translate.kubelet.totals import Totals
from vk_provider.translate.names import Names

log = logging.getLogger(__name__)

DEADLINE: Final = 8.0  # seconds for all nodes together: metrics-server waits 10 s for an answer
_NODE_DEADLINE: Final = 4.0  # seconds for one node, once it is its turn
_CONCURRENT: Final = 16  # nodes asked at a time: bounds the memory of answers that are not read yet


class Api(Protocol):
    """Interface: the member's API server; a kube.client.Client."""

    async def request(self, method: str, path: str, *, deadline: float) -> bytes: ...


class Nodes(Protocol):
    """Interface: the member's nodes, by name; an Informer of them."""

    @property
    def items(self) -> Mapping[str, object]: ...


class _Reader(Protocol):
    def read(self, body: bytes) -> Iterator[None]: ...


ReaderT = TypeVar("ReaderT", bound=_Reader)


class MemberMetrics:
    """See the module's text.

    The methods raise UnreachableError if the member has nodes, and none of them has a usable answer.
    """

    def __init__(
        self,
        member: Api,
        names: Names,
        member_nodes: Nodes,
        member_pods: Pods,
    ) -> None:
        self._member, self._names = member, names
        self._member_nodes, self._member_pods = member_nodes, member_pods
        self._scrapes: dict[str, _Shared] = {}
        self._reading = asyncio.Lock()
        self._totals: dict[str, Totals[Series]] = {}  # by path
        self._stats_totals: dict[str, Totals[Path]] = {}
        self._skipped: dict[str, set[str]] = {}  # path -> nodes that were skipped in the last scrape
        self._failing: dict[str, set[str]] = {}  # path -> nodes whose last answer was not usable
        self.skipped = 0  # nodes without a usable answer, over all scrapes since the start
        self.skipped_pods = 0  # pods within usable answers that could not be read, since the start

    async def summary(self, *, only_cpu_and_memory: bool) -> bytes:
        """JSON of a stats.v1alpha1 Summary."""
        path = "stats/summary" + ("?only_cpu_and_memory=true" if only_cpu_and_memory else "")

        async def scrape() -> bytes:
            answers, _ = await self._ask(path, NodeStats)
            self.skipped_pods += sum(answer.broken_pods for answer in answers.values())
            return await _joined(summed(self._names.node, answers, self._stats_totals.setdefault(path, Totals())))

        return await self._share(path, scrape)

    async def resource(self) -> bytes:
        """Prometheus text: CPU and memory of nodes, pods and containers, for metrics-server."""
        return await self._text("metrics/resource")

    async def cadvisor(self) -> bytes:
        """Prometheus text: the metrics of cAdvisor of our pods, and of the nodes as a whole."""
        return await self._text("metrics/cadvisor")

    async def probes(self) -> bytes:
        """Prometheus text: results of probes."""
        return await self._text("metrics/probes")

    async def _text(self, path: str) -> bytes:
        async def scrape() -> bytes:
            answers, skipped = await self._ask(path, Scrape)
            return await _joined(merged(answers, self._totals.setdefault(path, Totals()), skipped=skipped > 0))

        return await self._share(path, scrape)

    async def _ask(self, path: str, reader: Callable[[Find], ReaderT]) -> tuple[dict[str, ReaderT], int]:
        """The usable answers by member node, in the order of their names, and the number of nodes that were skipped."""
        nodes = sorted(self._member_nodes.items)
        failing = self._failing.setdefault(path, set())
        failing &= set(nodes)
        slots = asyncio.Semaphore(_CONCURRENT)
        causes: dict[str, Exception] = {}
        asked: set[str] = set()

        async def ask(node: str) -> ReaderT | None:
            try:
                async with asyncio.timeout_at(end), slots, asyncio.timeout(_NODE_DEADLINE):
                    asked.add(node)
                    answer = await self._member.request(
                        "GET", f"/api/v1/nodes/{quote(node, safe='')}/proxy/{path}", deadline=_NODE_DEADLINE
                    )
                    read = await self._read(reader(find_ours(self._member_pods.items, self._names, node)), answer)
                    failing.discard(node)
                    return read
            except (VkError, MalformedError, TimeoutError) as error:
                causes[node] = error
                if node in asked:
                    failing.add(node)
                return None

        end = asyncio.get_running_loop().time() + DEADLINE
        async with asyncio.TaskGroup() as group:
            # Nodes that failed the last time come last: nodes that hang must not keep the others from their turn.
            turns = sorted(nodes, key=failing.__contains__)
            tasks = {node: group.create_task(ask(node)) for node in turns}
        self._log_skipped(path, causes)
        answers = {node: answer for node in nodes if (answer := tasks[node].result()) is not None}
        if nodes and not answers:
            raise UnreachableError(
                f"none of the {len(nodes)} nodes of the member behind {self._names.node} answers GET {path}; "
                f"{nodes[0]}: {_message(causes[nodes[0]])}"
            )
        return answers, len(causes)

    async def _read(self, reader: ReaderT, answer: bytes) -> ReaderT:
        async with self._reading:
            for _ in reader.read(answer):
                await asyncio.sleep(0)
        return reader

    def _log_skipped(self, path: str, causes: dict[str, Exception]) -> None:
        self.skipped += len(causes)
        for node in causes.keys() - self._skipped.get(path, set()):
            log.warning(
                "member node skipped in metrics",
                extra={"node": self._names.node, "member_node": node, "path": path, "error": _message(causes[node])},
            )
        self._skipped[path] = set(causes)

    async def _share(self, path: str, scrape: Callable[[], Coroutine[None, None, bytes]]) -> bytes:
        shared = self._scrapes.get(path)
        if shared is None or shared.task.done():
            shared = self._scrapes[path] = _Shared(asyncio.create_task(scrape()))
        return await shared.result()


class _Shared:
    """A running scrape. It is cancelled when no request waits for its answer any more."""

    def __init__(self, task: asyncio.Task[bytes]) -> None:
        self.task = task
        self._waiting = 0

    async def result(self) -> bytes:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting:
                self.task.cancel()


async def _joined(parts: Iterator[bytes]) -> bytes:
    body = []
    for part in parts:
        body.append(part)
        await asyncio.sleep(0)
    return b"".join(body)


def _message(error: Exception) -> str:
    return str(error) or "no answer in time"
