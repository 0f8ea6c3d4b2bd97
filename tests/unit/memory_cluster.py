"""A cluster in memory, behind the interface of Client: objects, lists, watches, access reviews, and failures."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tests.unit.merge import merge
from vk_provider.errors import UnreachableError, VkError, api_error
from vk_provider.kube.auth.credentials import Credentials, Fixed
from vk_provider.kube.client import Client
from vk_provider.kube.objects import encode
from vk_provider.kube.resources import NAMESPACES, SELF_SUBJECT_ACCESS_REVIEWS, Resource
from vk_provider.kube.timestamps import rfc3339

Json = dict[str, Any]


class MemoryCluster:
    """The objects by their path, and how the API server behaves now. Deletions take effect at once."""

    def __init__(self, name: str, uid: str) -> None:
        self.name, self.server = name, f"https://{name}:6443"
        self.objects: dict[str, Json] = {}
        self.silent = False  # does not answer, and sends nothing on watches
        self.refusal: VkError | None = None  # raised for every request, but running watches go on
        self.denied: set[tuple[str, str]] = set()  # resource and verb
        self.requests: list[tuple[str, str]] = []  # method, path
        self.lists: list[str] = []  # paths of watches that began with a list
        self.tokens: set[str] = set()  # accepted tokens; empty: all are accepted
        self._watches: list[tuple[str, Mapping[str, str], asyncio.Queue[bytes]]] = []
        self._version = 100
        self.put(NAMESPACES, "kube-system", metadata={"uid": uid})

    def client(self, credentials: Credentials | None = None) -> MemoryClient:
        return MemoryClient(self, credentials)

    def put(self, resource: Resource, name: str, namespace: str = "", **fields: Any) -> Json:
        """Stores an object; `metadata` may be among its fields."""
        metadata = {"name": name, "uid": f"uid-{name}"} | ({"namespace": namespace} if namespace else {})
        metadata |= fields.pop("metadata", {})
        return self.store(resource.path(name, namespace), {"metadata": metadata, **fields})

    def find(self, resource: Resource, name: str, namespace: str = "") -> Json:
        """An object; empty if there is none."""
        return self.objects.get(resource.path(name, namespace), {})

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        """Deletes an object."""
        path = resource.path(name, namespace)
        self._version += 1
        gone = self.objects.pop(path)
        gone["metadata"]["resourceVersion"] = str(self._version)
        self._send("DELETED", path, gone)

    def store(self, path: str, item: Json) -> Json:
        self._version += 1
        kind = "MODIFIED" if path in self.objects else "ADDED"
        item["metadata"] = item["metadata"] | {"resourceVersion": str(self._version)}
        self.objects[path] = item
        self._send(kind, path, item)
        return item

    def listed(self, path: str, query: Mapping[str, str]) -> list[Json]:
        return [item for key, item in self.objects.items() if _within(key, path) and _selected(item, query)]

    @property
    def version(self) -> str:
        return str(self._version)

    def watch(self, path: str, query: Mapping[str, str]) -> asyncio.Queue[bytes]:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._watches.append((path, dict(query), queue))
        return queue

    def unwatch(self, queue: asyncio.Queue[bytes]) -> None:
        self._watches = [each for each in self._watches if each[2] is not queue]

    def _send(self, kind: str, path: str, item: Json) -> None:
        for watched, query, queue in self._watches:
            if _within(path, watched) and _selected(item, query):
                queue.put_nowait(encode({"type": kind, "object": item}))


class MemoryClient(Client):
    """A client of a MemoryCluster."""

    def __init__(self, cluster: MemoryCluster, credentials: Credentials | None = None) -> None:
        self.cluster = cluster
        tls = ssl.create_default_context()
        self.credentials = credentials or Credentials("test", cluster.server, tls, Fixed("Bearer test"))
        self.last_sign_of_life, self.restores, self.closed, self.streams = 0.0, 0, False, 0
        self._queues: set[asyncio.Queue[bytes]] = set()

    @property
    def urgent(self) -> MemoryClient:
        return self

    def share(self) -> MemoryClient:
        return self

    def server_time(self) -> datetime:
        return datetime(2026, 3, 1, 10, tzinfo=UTC)

    def timestamp(self) -> str:
        return rfc3339(self.server_time())

    async def close(self) -> None:
        self.closed = True
        self.end_watches()

    async def use(self, credentials: Credentials) -> None:
        self.credentials = credentials
        self.end_watches()

    def end_watches(self, *, silent_since: float = 0.0) -> None:
        for queue in self._queues:
            queue.put_nowait(b"")

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        deadline: float = 30.0,
    ) -> bytes:
        self.cluster.requests.append((method, path))
        await self._reach(deadline)
        answer = self._answer(method, path, query or {}, msgspec.json.decode(body) if body else {})
        self.last_sign_of_life = asyncio.get_running_loop().time()
        return encode(answer)

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        await self._reach(30.0)
        cluster = self.cluster
        queue = cluster.watch(path, query)
        self._queues.add(queue)
        try:
            if "sendInitialEvents" in query:
                cluster.lists.append(path)
                for item in cluster.listed(path, query):
                    yield encode({"type": "ADDED", "object": item})
                end = {"resourceVersion": cluster.version, "annotations": {"k8s.io/initial-events-end": "true"}}
                yield encode({"type": "BOOKMARK", "object": {"metadata": end}})
            while line := await queue.get():
                if not cluster.silent:
                    self.last_sign_of_life = asyncio.get_running_loop().time()
                    yield line
        finally:
            cluster.unwatch(queue)
            self._queues.discard(queue)

    async def _reach(self, deadline: float) -> None:
        cluster = self.cluster
        if cluster.silent:
            await asyncio.sleep(deadline)
            raise UnreachableError(f"{cluster.server}: no answer in time")
        if cluster.refusal is not None:
            raise cluster.refusal
        authorization = await self.credentials.authorization() or ""
        if cluster.tokens and authorization.removeprefix("Bearer ") not in cluster.tokens:
            raise api_error(401, "Unauthorized", "Unauthorized")
        await asyncio.sleep(0)

    def _answer(self, method: str, path: str, query: Mapping[str, str], sent: Json) -> Any:
        cluster = self.cluster
        if path == "/version":
            return {"gitVersion": "v1.37.2"}
        if path == "/api/v1":
            raise api_error(404, "NotFound", "no discovery")
        if path == SELF_SUBJECT_ACCESS_REVIEWS.path():
            asked = sent["spec"]["resourceAttributes"]
            return {"status": {"allowed": (asked["resource"], asked["verb"]) not in cluster.denied}}
        if method == "POST":
            path = f"{path}/{sent['metadata'].get('name') or sent['metadata']['generateName'] + cluster.version}"
            if path in cluster.objects:
                raise api_error(409, "AlreadyExists", f"{path} exists")
            metadata = {"uid": f"uid-{cluster.version}", "name": path.rpartition("/")[2], **sent["metadata"]}
            return cluster.store(path, {**sent, "metadata": metadata})
        if method == "GET" and path not in cluster.objects and ("limit" in query or query):
            return {"metadata": {"resourceVersion": cluster.version}, "items": cluster.listed(path, query)}
        path = path.removesuffix("/status")
        if path not in cluster.objects:
            raise api_error(404, "NotFound", f"{path} not found")
        found = cluster.objects[path]
        wanted = sent.get("preconditions") or sent.get("metadata", {})
        if any(wanted.get(key, found["metadata"][key]) != found["metadata"][key] for key in ("uid", "resourceVersion")):
            raise api_error(409, "Conflict", f"{path} is another version")
        if method == "PATCH":
            found = cluster.store(path, merge(found, sent))
        if method == "DELETE":
            cluster.objects.pop(path)
        return found


def _within(path: str, collection: str) -> bool:
    start, _, plural = collection.rpartition("/")
    parts = path.split("/")
    return path.startswith(start + "/") and len(parts) > 2 and parts[-2] == plural


def _selected(item: Json, query: Mapping[str, str]) -> bool:
    labels = item["metadata"].get("labels", {})
    for part in filter(None, query.get("labelSelector", "").split(",")):
        key, operator, value = part.partition("!=" if "!=" in part else "=")
        if not operator:
            if key not in labels:
                return False
        elif (labels.get(key) == value) is (operator == "!="):
            return False
    for part in filter(None, query.get("fieldSelector", "").split(",")):
        key, operator, value = part.partition("!=" if "!=" in part else "=")
        found: Any = item
        for step in key.split("."):
            found = found.get(step, {}) if isinstance(found, dict) else {}
        if (found == value) is (operator == "!="):
            return False
    return True
