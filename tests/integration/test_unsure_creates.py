"""A create with an unknown outcome: the member may run the pod, so the parent pod stays until this is checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from tests.gateway import Gateway, bookmark, cut_off, event, failure
from tests.waiting import eventually_here
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.loop import PodLoop
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.offer import member_node
from vk_provider.translate.pods.pod import Owner, Target
from vk_provider.translate.state.health import State

Json = dict[str, Any]

NAMES = Names("alpha", "parent-uid")
SPEC = {"nodeName": "alpha", "containers": [{"name": "web", "image": "web"}]}
KEY = "shop/web"


class Quiet:
    """The other parts that a PodLoop calls. They do nothing."""

    known_resources: frozenset[str] = frozenset()

    def adopt(self, pod: Pod) -> None: ...

    async def prepare(self, pod: Pod) -> Owner:
        return Owner("shop", "namespace-uid")

    async def ensure(self, pod: Pod) -> None: ...

    def release(self, pod_uid: str) -> None: ...

    def pod_gone(self, namespace: str) -> None: ...

    def delay(self, orphan: Pod) -> None: ...


class Scripted:
    """An API server with a scripted watch of pods. Subclasses answer other requests."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes] = asyncio.Queue()
        self.events.put_nowait(bookmark(1, end_of_list=True))

    async def script(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            return await self.answer(request)
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(await self.events.get())

    async def answer(self, request: web.Request) -> web.Response:
        return web.json_response({})


class Parent(Scripted):
    """Has the pod, and records its deletion."""

    deleted = False

    def send(self, version: int, **metadata: Any) -> None:
        about = {"namespace": "shop", "name": "web", "uid": "p-1", "resourceVersion": str(version), **metadata}
        self.events.put_nowait(event("MODIFIED", {"metadata": about, "spec": SPEC, "status": {"phase": "Pending"}}))

    async def answer(self, request: web.Request) -> web.Response:
        self.deleted |= request.method == "DELETE"
        return failure(404, "NotFound") if request.method == "PATCH" else await super().answer(request)


class Member(Scripted):
    """Creates the pod, but loses the answer. Rejects later creates with `rejection`, and fails all reads."""

    def __init__(self, rejection: int) -> None:
        super().__init__()
        self.rejection, self.readable = rejection, False
        self.pod: Json = {}
        self.creates = self.reads = 0
        self.deleted: Json = {}

    async def answer(self, request: web.Request) -> web.Response:
        match request.method:
            case "POST" if not self.pod:
                made = await request.json()
                self.pod = made | {"metadata": made["metadata"] | {"uid": "m-1", "resourceVersion": "2"}}
                return cut_off(request)
            case "POST":
                self.creates += 1
                return failure(self.rejection, {409: "AlreadyExists", 403: "Forbidden", 422: "Invalid"}[self.rejection])
            case "DELETE":
                self.deleted = await request.json()
                return web.json_response({})
            case "GET":
                self.reads += 1
                return web.json_response(self.pod) if self.readable else cut_off(request)
        return await super().answer(request)


@asynccontextmanager
async def served(parent: Parent, member: Member) -> AsyncIterator[None]:
    """A PodLoop between the two servers."""
    async with (
        Gateway(parent.script) as above,
        Gateway(member.script) as below,
        above.client() as up,
        below.client() as down,
    ):
        pods = PodCaches(NAMES, Informer(up, PODS, Pod), Informer(down, PODS, Pod))
        cluster = Observable(MemberCluster(Metadata(name="alpha"), MemberClusterSpec(SecretRef("s", "n"))))
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(informer.run()) for informer in (pods.parent, pods.member)]
            await pods.parent.synced.wait()
            await pods.member.synced.wait()
            quiet = Quiet()
            loop = PodLoop(
                Target(NAMES),
                up,
                down,
                pods,
                state=MemberState(State.HEALTHY, cluster),
                resources=quiet,
                dependents=quiet,
                brake=quiet,
                recorder=Recorder(up),
                workers=1,
                cluster=cluster,
                nodes=Informer(down, NODES, Node, keep=member_node),
            )
            tasks.append(group.create_task(loop.run()))
            yield
            for task in tasks:
                task.cancel()


@pytest.mark.parametrize("rejection", [409, 403, 422])
async def test_a_parent_pod_is_not_deleted_before_the_member_is_checked_for_its_member_pod(rejection: int) -> None:
    parent, member = Parent(), Member(rejection)
    async with served(parent, member):
        parent.send(2)
        await eventually_here(lambda: member.creates, "a later create is rejected")
        reads = member.reads
        parent.send(3, deletionTimestamp="2030-01-01T00:00:00Z", deletionGracePeriodSeconds=1)
        await eventually_here(lambda: member.reads > reads + 3 or parent.deleted, "the provider retries the read")
        assert not parent.deleted, "the pod may run in the member"
        member.readable = True
        await eventually_here(lambda: member.deleted, "the member pod is found and deleted")
        assert member.deleted["preconditions"] == {"uid": "m-1"}
        assert not parent.deleted
        member.events.put_nowait(event("DELETED", member.pod))
        await eventually_here(lambda: parent.deleted, "the parent pod is deleted afterwards")
