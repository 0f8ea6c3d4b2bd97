"""A virtual node on a simulated parent: its loop runs as it does in a provider, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Generic, TypeVar

import msgspec

from tests.unit.api_server import ApiServer
from tests.unit.merge import merge
from tests.unit.pods import NAMES, Manifest, as_node, pod
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec
from vk_provider.errors import ForbiddenError, InvalidError
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import HasMetadata, Metadata, Node, Pod
from vk_provider.kube.resources import NODES
from vk_provider.observable import Observable
from vk_provider.sync.nodes.hold import HoldLoop
from vk_provider.sync.nodes.status import NodeStatusLoop
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.keys import is_qualified_name
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.nodes.requests import Usage, usage
from vk_provider.translate.state.health import Assessment, State

T = TypeVar("T", bound=HasMetadata)

NAME: Final = NAMES.node
READY: Final = {"type": "Ready", "status": "True"}
NOT_READY: Final = {"type": "Ready", "status": "False"}
SIZE: Final = {"cpu": "4", "memory": "16Gi", "pods": "110"}


def now() -> float:
    return asyncio.get_running_loop().time()


class List(Generic[T]):
    """What an informer caches, as the test sets it."""

    def __init__(self) -> None:
        self.items: dict[str, T] = {}
        self._handlers: list[Callable[[T | None, T | None], None]] = []

    def on_change(self, handler: Callable[[T | None, T | None], None]) -> None:
        self._handlers.append(handler)
        for item in self.items.values():
            handler(None, item)

    def set(self, item: T) -> None:
        before = self.items.get(item.metadata.key)
        self.items[item.metadata.key] = item
        self._notify(before, item)

    def observe(self, item: T) -> None:
        """The answer to a write."""

    def remove(self, key: str) -> None:
        self._notify(self.items.pop(key), None)

    def _notify(self, before: T | None, after: T | None) -> None:
        for handler in self._handlers:
            handler(before, after)


class Parent(ApiServer):
    """The API server of a parent, with its Nodes. It checks keys of labels and taints as a real one does."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[float, str, str, Manifest]] = []  # time, method, path, body
        self.refuse: Callable[[str, str, Manifest], Exception | None] = lambda method, path, body: None
        self._watch: asyncio.Queue[bytes] = asyncio.Queue()

    @property
    def nodes(self) -> dict[str, Manifest]:
        """By name."""
        prefix = f"{NODES.path()}/"
        return {path.removeprefix(prefix): found for path, found in self.objects.items() if path.startswith(prefix)}

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        for node in self.nodes.values():
            yield _event("ADDED", node)
        end = {"resourceVersion": str(self._version), "annotations": {"k8s.io/initial-events-end": "true"}}
        yield _event("BOOKMARK", {"metadata": end})
        while True:
            yield await self._watch.get()

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes | None = None, **_: Any
    ) -> bytes:
        await asyncio.sleep(0.01)
        if method != "GET":
            sent = msgspec.json.decode(body or b"{}")
            self.writes.append((now(), method, path, sent))
            self._check(method, path, sent)
        return await super().request(method, path, query=query, body=body)

    def server_time(self) -> datetime:
        return datetime(2026, 3, 1, 10, tzinfo=UTC) + timedelta(seconds=now())

    def timestamp(self) -> str:
        return self.server_time().strftime("%Y-%m-%dT%H:%M:%SZ")

    def delete_node(self, name: str = NAME) -> None:
        self._watch.put_nowait(_event("DELETED", self.objects.pop(NODES.path(name))))

    def edit(self, patch: Manifest, name: str = NAME) -> None:
        """Another client changes the Node."""
        self._store(NODES.path(name), merge(self.nodes[name], patch))

    def ready(self, name: str = NAME) -> str:
        """Status of the Ready condition of a Node; empty if it has none."""
        conditions = self.nodes[name].get("status", {}).get("conditions", [])
        return next((c["status"] for c in conditions if c["type"] == "Ready"), "")

    def taints(self, name: str = NAME) -> set[tuple[str, str]]:
        return {(taint["key"], taint["effect"]) for taint in self.nodes[name]["spec"].get("taints", [])}

    def _check(self, method: str, path: str, sent: Manifest) -> None:
        if (error := self.refuse(method, path, sent)) is not None:
            raise error
        keys = [*(sent.get("metadata", {}).get("labels") or {})]
        keys += [taint["key"] for taint in sent.get("spec", {}).get("taints") or ()]
        for key in keys:
            if not is_qualified_name(key):
                raise InvalidError(422, "Invalid", f"{key!r} is not a qualified name")

    def _store(self, path: str, found: Manifest) -> Manifest:
        stored = super()._store(path, found)
        if path.startswith(NODES.path()):
            self._watch.put_nowait(_event("MODIFIED", stored))
        return stored


def _event(type: str, node: Manifest) -> bytes:
    return msgspec.json.encode({"type": type, "object": node})


class Quiet:
    """A recorder that keeps the reasons."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def event(self, resource: Any, about: Any, type: str, reason: str, message: str) -> None:
        self.reasons.append(reason)


class World:
    """One member with its virtual node. Times are seconds since the start."""

    def __init__(self, spec: Manifest | None = None, nodes: tuple[MemberNode, ...] | None = None) -> None:
        self.parent = Parent()
        self.start = now()
        self.nodes: List[MemberNode] = List()
        for each in (node(),) if nodes is None else nodes:
            self.nodes.set(each)
        self.others: List[Usage] = List()
        self.parent_pods: List[Pod] = List()
        self.member_pods: List[Pod] = List()
        self.cluster = Observable(cluster(spec))
        self.version = Observable("v1.37.2")
        self.state = MemberState(State.HEALTHY, self.cluster)
        self.nodes_ready = Observable(NodesReady())
        self.recorder = Quiet()
        self._lists: Any = (self.parent_pods, self.member_pods)
        self.build()

    def build(self) -> None:
        """A new process, with what is in the parent."""
        recorder: Any = self.recorder
        nodes: Any = self.nodes
        others: Any = self.others
        pods = PodCaches(NAMES, *self._lists)
        self.virtual_nodes: Informer[Node] = Informer(self.parent, NODES, Node)
        hold = HoldLoop(NAME, self.parent, pods.parent, self.state, self.nodes_ready, recorder)
        self.loop = NodeStatusLoop(
            "10.0.0.1",
            self.version,
            self.cluster,
            self.parent,
            self.virtual_nodes,
            nodes,
            [others],
            pods,
            state=self.state,
            nodes_ready=self.nodes_ready,
            hold=hold,
            recorder=recorder,
        )

    @property
    def at(self) -> float:
        return now() - self.start

    @property
    def cpu(self) -> str:
        """What the Node offers."""
        return str(self.parent.nodes[NAME]["status"].get("allocatable", {}).get("cpu"))

    def change(self, spec: Manifest) -> None:
        self.cluster.set(cluster(spec))

    def health(self, state: State) -> None:
        self.state.assess(Assessment(state, ForbiddenError(403, "Forbidden", "no") if state is State.LOST else None))

    def other(self, cpu: str, name: str = "other", on: str = "n1") -> None:
        """A pod of another client."""
        spec = {"nodeName": on, "containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}
        self.others.set(usage(pod(spec, name=name)))

    def writes(self, since: float = 0.0) -> list[str]:
        """Method and what of the Node was written, since that time."""
        return [
            f"{method} {'status' if path.endswith('/status') else 'node'}"
            for at, method, path, _body in self.parent.writes
            if at - self.start >= since and path.startswith(NODES.path())
        ]

    @asynccontextmanager
    async def running(self, *, served: bool = True) -> AsyncIterator[None]:
        """The loop runs while the block does; it has had two seconds when the block begins."""
        informer = asyncio.create_task(self.virtual_nodes.run())
        await self.virtual_nodes.synced.wait()
        await self.loop.register()
        if served:
            self.loop.serve_kubelet(10250)
        task = asyncio.create_task(self.loop.run())
        try:
            await asyncio.wait([task], timeout=2.0)
            yield
            if task.done():
                task.result()
        finally:
            for each in (task, informer):
                each.cancel()
            await asyncio.wait([task, informer])


def cluster(spec: Manifest | None = None) -> MemberCluster:
    """A MemberCluster with what is in its spec besides the kubeconfig."""
    body = {"kubeconfigSecretRef": {"name": "s", "namespace": "n"}, **(spec or {})}
    return MemberCluster(Metadata(name=NAME, uid="c-1"), msgspec.convert(body, MemberClusterSpec))


def node(
    name: str = "n1",
    *,
    ready: bool = True,
    cordoned: bool = False,
    taints: tuple[Manifest, ...] = (),
    labels: dict[str, str] | None = None,
    size: Manifest = SIZE,
) -> MemberNode:
    """A node of the member."""
    return member_node(
        as_node(
            {
                "metadata": {"name": name, "uid": f"uid-of-{name}", "labels": labels or {}},
                "spec": {"unschedulable": cordoned, "taints": list(taints)},
                "status": {"allocatable": size, "capacity": size, "conditions": [READY if ready else NOT_READY]},
            }
        )
    )
