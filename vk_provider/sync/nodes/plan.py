"""Asks the parent's scheduler where pods would go: creates a shadow of each, reads the answers, and deletes them all.

    PriorityClass (owns all shadows) -> shadows, those of the highest priority first -> those that found no room again,
    as long as others do find some -> everything deleted, whatever happened

Owns the shadows and their PriorityClass. A plan that could not clean up (SIGKILL, no connection) leaves a PriorityClass
with an expiry; the next plan deletes it, and Kubernetes deletes its shadows with it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from operator import attrgetter
from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import ApiError, ConflictError, NotFoundError, VkError
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import PartialObject, Pod, encode
from vk_provider.kube.resources import EVENTS, PODS, PRIORITY_CLASSES
from vk_provider.kube.timestamps import rfc3339
from vk_provider.translate.nodes.plan import PRIORITY, Outcome, Plan, Planned, Verdict, answer, shadow

log = logging.getLogger(__name__)

_PARALLEL: Final = 16  # creates and deletes at a time
_ATTEMPTS: Final = 5  # at a create: the count of a quota is written by many
_ABOUT_PODS: Final = {"fieldSelector": "involvedObject.kind=Pod"}
_CLEAN_UP_WITHIN: Final = 120.0  # seconds for the server to delete the shadows of one namespace
_SLACK: Final = timedelta(seconds=60)  # between the end of the plan and the time by which it must be gone


class SchedulerQuery:
    """One plan. `verdicts` and `shadows` (as admission left them) are by the pod's UID."""

    def __init__(self, client: Client, plan: Plan, pods: Sequence[Planned], *, progress: Callable[[int], None]) -> None:
        """`progress` is called with the number of verdicts whenever it changes."""
        self._client, self._plan, self._progress = client, plan, progress
        self._pods = sorted(pods, key=attrgetter("priority"), reverse=True)
        self._informer: Informer[Pod] = Informer(client, PODS, Pod, labels=plan.selector)
        self._asked: dict[str, Planned] = {}  # by the key of the shadow that counts
        self._open: set[str] = set()  # UIDs of pods that are being asked about
        self._numbers = itertools.count(1)
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._changed = asyncio.Event()
        self.verdicts: dict[str, Verdict] = {}
        self.shadows: dict[str, Pod] = {}

    async def ask(self, seconds: float) -> None:
        """Returns when there is a verdict on each pod, or after `seconds`; then nothing of the plan is left.

        Raises the parent's errors if it cannot be asked at all, and VkError (ShadowsLeft) if something is left.
        """
        await _sweep(self._client)
        await self._own(seconds)
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(self._informer.run())
                await self._informer.synced.wait()
                self._informer.on_change(self._listen)
                await self._ask(self._pods)
                await self._ask_again()
                watch.cancel()
        except TimeoutError:
            for pod in self._pods:
                self.verdicts.setdefault(
                    pod.metadata.uid, Verdict(Outcome.UNKNOWN, message=f"no answer from the scheduler in {seconds:g} s")
                )
        finally:
            await self._clean_up()

    async def _own(self, seconds: float) -> None:
        expires = self._client.server_time() + timedelta(seconds=seconds + _CLEAN_UP_WITHIN) + _SLACK
        body = {
            "metadata": {
                "name": self._plan.name,
                "labels": {wellknown.PLAN: self._plan.id},
                "annotations": {wellknown.PLAN_EXPIRES: rfc3339(expires)},
            },
            "value": PRIORITY,
            "preemptionPolicy": "Never",
            "description": f"Owns the shadow pods of: vk-provider plan-failover, for node {self._plan.node}",
        }
        owner = await self._client.create(PRIORITY_CLASSES, body, type=PartialObject)
        self._plan = replace(self._plan, owner_uid=owner.metadata.uid)

    async def _ask(self, pods: Sequence[Planned]) -> None:
        """Asks about some pods (by falling priority), and returns when there is a verdict on each."""
        for _, equals in itertools.groupby(pods, attrgetter("priority")):
            wave = list(equals)
            self._open = {pod.metadata.uid for pod in wave}
            await asyncio.gather(*map(self._create, wave))
            while self._open:
                self._changed.clear()
                await self._changed.wait()

    async def _ask_again(self) -> None:
        """A pod that found no room may find it next to one that was placed after it: affinity, spread."""
        moved = 0
        while moved < (now := self._count(Outcome.MOVES)):
            moved = now
            again = [pod for pod in self._pods if self.verdicts[pod.metadata.uid].outcome is Outcome.CANNOT]
            keys = {pod.metadata.uid: key for key, pod in self._asked.items()}
            for pod in again:
                del self._asked[keys[pod.metadata.uid]]
            await asyncio.gather(*(self._delete(keys[pod.metadata.uid]) for pod in again))
            await self._ask(again)

    def _count(self, outcome: Outcome) -> int:
        return sum(verdict.outcome is outcome for verdict in self.verdicts.values())

    def _listen(self, before: Pod | None, after: Pod | None) -> None:
        found = after or before
        pod = self._asked.get(found.metadata.key) if found else None
        if found is None or pod is None:
            return
        verdict = answer(found)
        if after is None and pod.metadata.uid in self._open:
            verdict = verdict or Verdict(Outcome.UNKNOWN, message="its shadow was deleted by someone else")
        if verdict is not None:
            self._conclude(pod, verdict)

    def _conclude(self, pod: Planned, verdict: Verdict) -> None:
        self.verdicts[pod.metadata.uid] = verdict
        self._open.discard(pod.metadata.uid)
        self._progress(len(self.verdicts))
        self._changed.set()

    async def _create(self, pod: Planned) -> None:
        namespace = pod.metadata.namespace
        async with self._slots:
            for attempt in itertools.count(1):
                name = f"plan-{self._plan.id}-{next(self._numbers)}"
                self._asked[f"{namespace}/{name}"] = pod
                try:
                    created = await self._client.create(PODS, shadow(pod, name, self._plan), namespace, type=Pod)
                except VkError as error:
                    del self._asked[f"{namespace}/{name}"]
                    if isinstance(error, ConflictError) and attempt < _ATTEMPTS:
                        continue
                    refused = isinstance(error, ApiError) and error.status in range(400, 429)
                    outcome = Outcome.REFUSED if refused else Outcome.UNKNOWN
                    return self._conclude(pod, Verdict(outcome, message=error.message))
                self.shadows[pod.metadata.uid] = created
                return None

    async def _delete(self, key: str) -> None:
        namespace, name = key.split("/", 1)
        async with self._slots:
            try:
                await self._client.delete(PODS, name, namespace, grace_seconds=0)
            except VkError as error:
                log.debug("shadow not deleted", extra={"pod": key, "error": str(error)})  # the clean-up retries

    async def _clean_up(self) -> None:
        for namespace in sorted({pod.metadata.namespace for pod in self._pods}):
            try:
                await self._client.request(
                    "DELETE",
                    PODS.path(namespace=namespace),
                    query={"labelSelector": self._plan.selector},
                    body=encode({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0}),
                    deadline=_CLEAN_UP_WITHIN,
                )
            except VkError as error:
                log.debug("shadows not deleted", extra={"namespace": namespace, "error": str(error)})
            await self._forget_events(namespace)
        try:
            # What is left, or is created only now, is deleted with its owner, a little later, by the garbage collector.
            await _delete_class(self._client, self._plan.name)
        except VkError as error:
            raise VkError(
                f"shadow pods of this plan may be left: {error.message}",
                reason="ShadowsLeft",
                remedy=f"kubectl delete priorityclass {self._plan.name}; Kubernetes removes them with it",
            ) from error

    async def _forget_events(self, namespace: str) -> None:
        """Deletes what the scheduler has reported about the shadows, which no user knows. Failures are only logged."""
        try:
            for event in await self._client.list(EVENTS, namespace, type=PartialObject, query=_ABOUT_PODS):
                if event.metadata.name.startswith(f"plan-{self._plan.id}-"):
                    await self._client.delete(EVENTS, event.metadata.name, namespace)
        except VkError as error:
            log.debug("events of shadows not deleted", extra={"namespace": namespace, "error": str(error)})


async def _sweep(client: Client) -> None:
    """Deletes what plans that were killed have left behind."""
    for found in await client.list(PRIORITY_CLASSES, type=PartialObject, query={"labelSelector": wellknown.PLAN}):
        expires = found.metadata.annotations.get(wellknown.PLAN_EXPIRES)
        if expires and datetime.fromisoformat(expires) < client.server_time():
            log.warning("an earlier plan was not cleaned up", extra={"priorityclass": found.metadata.name})
            await _delete_class(client, found.metadata.name)


async def _delete_class(client: Client, name: str) -> None:
    try:
        await client.delete(PRIORITY_CLASSES, name)
    except NotFoundError:
        pass
