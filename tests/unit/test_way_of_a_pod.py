"""The way of a plain pod through the code: from the watch event to the status PATCH in the parent.

A plain pod has no dependents and no constraints; its namespace is in use. The test runs the real pod loop and the real
dependents between two simulated API servers, and prints the files of vk_provider/ that the pod enters.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec
import pytest

import vk_provider
from tests.unit.calls import calls, file_in
from tests.unit.pod_loop_parts import NoResources, ParentLists, Quiet
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Node, PartialObject, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NODES, PODS
from vk_provider.observable import Observable
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.sync.dependents.dependents import Dependents
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.loop import PodLoop
from vk_provider.sync.pods.orphans import OrphanBrake
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node
from vk_provider.translate.pods.pod import Target
from vk_provider.translate.state.health import State

ROOT: Final = Path(vk_provider.__file__).parent
MOST_FILES: Final = 14
MOST_CLIMBS: Final = 3
NAMES: Final = Names("alpha", "parent-uid")
# From the lowest to the highest. A call from a lower layer into a higher one is a climb.
LAYERS: Final = ("kube", "translate", "sync")
SPEC: Final = {
    "nodeName": "alpha",
    "automountServiceAccountToken": False,
    "containers": [{"name": "web", "image": "w"}],
}


class Server(Client):
    """A simulated API server: watches deliver the events that the test feeds, and writes return the written object."""

    def __init__(self) -> None:
        self.restores = 0
        self.events: dict[str, asyncio.Queue[bytes]] = {}
        self.written: list[tuple[str, str, dict[str, Any]]] = []

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        queue = self.events.setdefault(path, asyncio.Queue())
        yield event("BOOKMARK", {"resourceVersion": "1", "annotations": {"k8s.io/initial-events-end": "true"}})
        while True:
            yield await queue.get()

    async def request(self, method: str, path: str, *, body: bytes | None = None, **_: Any) -> bytes:
        written = msgspec.json.decode(body or b"{}")
        self.written.append((method, path, written))
        metadata = {"uid": "m-1", "resourceVersion": "2"} | {k: v for k, v in written.get("metadata", {}).items() if v}
        return msgspec.json.encode(written | {"metadata": metadata})

    def server_time(self) -> datetime:
        return datetime(2026, 3, 1, 10, tzinfo=UTC)

    def timestamp(self) -> str:
        return "2026-03-01T10:00:00Z"

    def feed(self, kind: str, metadata: dict[str, Any], **parts: Any) -> None:
        self.events[PODS.path()].put_nowait(event(kind, metadata, **parts))


def event(kind: str, metadata: dict[str, Any], **parts: Any) -> bytes:
    return msgspec.json.encode({"type": kind, "object": {"metadata": metadata, **parts}})


class Way:
    """The files of vk_provider/ that are entered, and the calls from a lower layer into a higher one."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self.climbs: list[str] = []
        self._seen: dict[int, FrameType] = {}  # the frame of a coroutine is entered again each time it resumes

    def note(self, frame: FrameType, file: str) -> None:
        if id(frame) in self._seen or frame.f_code.co_name.startswith("<"):
            return
        self._seen[id(frame)] = frame
        if file not in self.files:
            self.files.append(file)
        caller = frame.f_back
        while caller is not None and file_in(ROOT, caller) is None:
            caller = caller.f_back
        below = file_in(ROOT, caller) if caller else None
        if below is not None and _layer(file) > _layer(below):
            self.climbs.append(f"{below} -> {file}:{frame.f_code.co_name}")


def _layer(file: str) -> int:
    return LAYERS.index(file.split("/")[0]) if file.split("/")[0] in LAYERS else 0


@asynccontextmanager
async def served(above: Server, below: Server, *, leaving: bool = False) -> AsyncIterator[None]:
    """The pods and the dependents of virtual node alpha, between the two servers."""
    metadata = Metadata(name="alpha", deletion_timestamp="2026-03-01T10:00:00Z" if leaving else None)
    cluster = Observable(MemberCluster(metadata, MemberClusterSpec(SecretRef("s", "n"))))
    state = MemberState(State.HEALTHY, cluster)
    pods = PodCaches(NAMES, Informer(above, PODS, Pod), Informer(below, PODS, Pod))
    nodes: Informer[MemberNode] = Informer(below, NODES, Node, keep=member_node)
    lists, parent = (
        DependentCaches.of(below, NAMES, [pods], nodes),
        ParentLists(above, Recorder(above)),
    )
    async with asyncio.TaskGroup() as tasks:
        informers: list[Informer[Any]] = [pods.parent, pods.member, *lists.own(), parent.namespaces]
        for informer in informers:
            tasks.create_task(informer.run())
        tasks.create_task(parent.services.run())
        tasks.create_task(parent.policies.run())
        for synced in (pods.parent, pods.member, *lists.own()):
            await synced.synced.wait()
        await parent.services.synced()
        dependents = Dependents(Target(NAMES), cluster, parent, below, lists, state, tasks)
        tasks.create_task(dependents.run())
        lists.namespaces.observe(PartialObject(Metadata(name="shop", uid="n-1", resource_version="2")))
        loop = PodLoop(
            Target(NAMES),
            above,
            below,
            pods,
            state=state,
            resources=NoResources(),
            dependents=dependents,
            brake=OrphanBrake(cluster, above, pods, state, Quiet()),
            recorder=parent.recorder,
            workers=1,
            cluster=cluster,
            nodes=Informer(Server(), NODES, Node, keep=member_node),
        )
        tasks.create_task(loop.run())
        yield
        raise _EndError


class _EndError(Exception):
    """Ends the task group."""


async def live(above: Server, below: Server, name: str) -> None:
    """Binds a pod, waits for its creation in the member, lets it run there, and waits for the status in the parent."""
    above.written.clear()
    below.written.clear()
    metadata = {"name": name, "namespace": "shop", "uid": f"p-{name}", "resourceVersion": "5"}
    above.feed("ADDED", metadata, spec=SPEC, status={"phase": "Pending", "conditions": [SCHEDULED]})
    await eventually_here(lambda: below.written, "the member pod is created")
    _, _, manifest = below.written[0]
    made = manifest["metadata"] | {"uid": "m-1", "resourceVersion": "7"}
    below.feed("MODIFIED", made, spec=SPEC, status={"phase": "Running", "containerStatuses": [RUNNING]})
    await eventually_here(lambda: above.written, "the status is written")


SCHEDULED: Final = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T10:00:00Z"}


async def test_a_plain_pod_enters_few_files_and_seldom_climbs(capsys: pytest.CaptureFixture[str]) -> None:
    above, below, way = Server(), Server(), Way()

    async def follow() -> None:
        async with served(above, below):
            await live(above, below, "first")  # starts the loops and takes the namespace into use
            with calls(ROOT, way.note):
                await live(above, below, "web")

    try:
        await follow()
    except* _EndError:
        pass
    report = "\n  ".join([f"{len(way.files)} files:", *way.files, f"{len(way.climbs)} climbs:", *way.climbs])
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")
    method, path, patch = above.written[0]
    assert (method, path) == ("PATCH", PODS.path("web", "shop", "status"))
    assert patch["status"]["phase"] == "Running"
    assert wellknown.CREATED_CONDITION in {condition["type"] for condition in patch["status"]["conditions"]}
    assert len(way.files) <= MOST_FILES
    assert len(way.climbs) <= MOST_CLIMBS


RUNNING: Final = {
    "name": "web",
    "image": "w",
    "imageID": "sha256:1",
    "ready": True,
    "started": True,
    "restartCount": 0,
    "state": {"running": {"startedAt": "2026-03-01T10:00:01Z"}},
    "lastState": {},
}
