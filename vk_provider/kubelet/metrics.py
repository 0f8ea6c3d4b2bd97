"""Metrics of the member's nodes, through the node proxy of the member's API server.

    scrape -> GET from the nodes with pods of ours, in parallel -> read each answer -> one answer for the virtual node

If no node has a pod of ours, one node is asked: a virtual node without metrics would look broken. A node without a
usable answer is skipped and counted; the scrape fails only if no node has a usable answer. Scrapes of the same path
share one answer while it is being made, and for 10 s: samples carry the time of their measurement.

If there are too many nodes for one scrape, they take turns. A node whose turn it is not has its last answer, for a
minute.

Nodes answer in parallel, but their answers are read one at a time and in short steps, so that other members' loops
run in between, however large the answers are.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeVar
from urllib.parse import quote

from vk_provider.errors import UnreachableError, VkError
from vk_provider.kubelet.backend import Pods
from vk_provider.translate.kubelet.metrics import Find, Scrape, Series, find_ours, merged, node_of
from vk_provider.translate.kubelet.prometheus import MalformedError
from vk_provider.translate.kubelet.stats import NodeStats, Path, summed
from vk_provider.translate.kubelet.totals import Totals
from vk_provider.translate.names import Names

log = logging.getLogger(__name__)

DEADLINE: Final = 8.0  # seconds for all nodes together: metrics-server waits 10 s for an answer
_NODE_DEADLINE: Final = 4.0  # seconds for one node, once it is its turn
_KEPT: Final = 10.0  # seconds for which an answer is shared
_TURNS: Final = 60.0  # seconds for which the last answer of a node counts whose turn it is not
_BATCH: Final = 500  # pods that are looked at in one step
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
        parent_pods: Pods,
        member_pods: Pods,
    ) -> None:
        self._member, self._names = member, names
        self._member_nodes, self._parent_pods, self._member_pods = member_nodes, parent_pods, member_pods
        self._scrapes: dict[str, _Shared] = {}
        self._reading = asyncio.Lock()
        self._totals: dict[str, Totals[Series]] = {}  # by path
        self._stats_totals: dict[str, Totals[Path]] = {}
        self._skipped: dict[str, set[str]] = {}  # path -> nodes that were skipped in the last scrape
        self._failing: dict[str, set[str]] = {}  # path -> nodes whose last answer was not usable
        self._turns: dict[str, _Turns] = {}  # by path
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
        failing = self._failing.setdefault(path, set())
        failing &= set(self._member_nodes.items)
        nodes = await self._nodes(failing)
        slots = asyncio.Semaphore(_CONCURRENT)
        causes: dict[str, Exception] = {}
        had_time: set[str] = set()
        cut_short: set[str] = set()  # by the end of the scrape, or not asked at all

        async def ask(node: str) -> ReaderT | None:
            try:
                async with asyncio.timeout_at(end), slots, asyncio.timeout(_NODE_DEADLINE):
                    if asyncio.get_running_loop().time() + _NODE_DEADLINE / 2 <= end:
                        had_time.add(node)
                    answer = await self._member.request(
                        "GET", f"/api/v1/nodes/{quote(node, safe='')}/proxy/{path}", deadline=_NODE_DEADLINE
                    )
                    find = find_ours(self._parent_pods.items, self._member_pods.items, self._names, node)
                    read = await self._read(reader(find), answer)
                    failing.discard(node)
                    return read
            except (VkError, MalformedError, TimeoutError) as error:
                causes[node] = error
                in_time = node in had_time or not isinstance(error, TimeoutError)
                (failing if in_time else cut_short).add(node)
                return None

        end = asyncio.get_running_loop().time() + DEADLINE
        async with asyncio.TaskGroup() as group:
            # Nodes that failed the last time come last: nodes that hang must not keep the others from their turn.
            turns = self._turns.setdefault(path, _Turns())
            order = sorted(nodes, key=lambda node: (node in failing, node in turns.asked))
            tasks = {node: group.create_task(ask(node)) for node in order}
        answers = {node: answer for node in nodes if (answer := tasks[node].result()) is not None}
        answers = turns.complete(answers, cut_short, end)
        causes = {node: cause for node, cause in causes.items() if node not in answers}
        self._log_skipped(path, causes)
        if nodes and not answers:
            raise UnreachableError(
                f"none of the {len(nodes)} nodes of the member behind {self._names.node} answers GET {path}; "
                f"{nodes[0]}: {_message(causes[nodes[0]])}"
            )
        return answers, len(causes)

    async def _nodes(self, failing: Collection[str]) -> list[str]:
        """The nodes to ask, in the order of their names."""
        known, found = self._member_nodes.items, set()
        for count, pod in enumerate(list(self._member_pods.items.values()), 1):
            found.add(node_of(pod, self._names))
            if count % _BATCH == 0:
                await asyncio.sleep(0)
        return sorted(found & known.keys()) or sorted(known, key=lambda node: (node in failing, node))[:1]

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
        if shared is None or shared.abandoned:
            shared = self._scrapes[path] = _Shared(asyncio.create_task(scrape()))
            shared.task.add_done_callback(partial(self._done, path, shared))
        return await shared.result()

    def _done(self, path: str, shared: _Shared, task: asyncio.Task[bytes]) -> None:
        """A good answer is kept for a while, any other end is not."""
        if task.cancelled() or task.exception() is not None:
            self._forget(path, shared)
        else:
            asyncio.get_running_loop().call_later(_KEPT, self._forget, path, shared)

    def _forget(self, path: str, shared: _Shared) -> None:
        if self._scrapes.get(path) is shared:
            del self._scrapes[path]


class _Shared:
    """A scrape and its answer. It is cancelled when no request waits for it any more, and must not be used then."""

    def __init__(self, task: asyncio.Task[bytes]) -> None:
        self.task = task
        self.abandoned = False
        self._waiting = 0

    async def result(self) -> bytes:
        self._waiting += 1
        try:
            return await asyncio.shield(self.task)
        finally:
            self._waiting -= 1
            if not self._waiting and not self.task.done():
                self.abandoned = True
                self.task.cancel()


class _Turns:
    """Who was asked the last time, and the answers of the others, if there are too many nodes for one scrape."""

    def __init__(self) -> None:
        self.asked: frozenset[str] = frozenset()
        self._answers: dict[str, tuple[float, Any]] = {}

    def complete(self, answers: dict[str, ReaderT], cut_short: Collection[str], now: float) -> dict[str, ReaderT]:
        """The answers, with the last ones of the nodes for which there was no time, in the order of their names."""
        old = {node: answer for node, (at, answer) in self._answers.items() if node in cut_short and now - at < _TURNS}
        kept = {node: self._answers[node] for node in old}
        self._answers = kept | {node: (now, answer) for node, answer in answers.items()} if cut_short else {}
        self.asked = frozenset(answers) if cut_short else frozenset()
        return dict(sorted((answers | old).items()))


async def _joined(parts: Iterator[bytes]) -> bytes:
    body = []
    for part in parts:
        body.append(part)
        await asyncio.sleep(0)
    return b"".join(body)


def _message(error: Exception) -> str:
    return str(error) or "no answer in time"
