"""An API server in memory, for tests of loops: objects of any type, lists, watches, selectors and refusals."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from tests.unit.merge import merge
from vk_provider.errors import ApiError, api_error
from vk_provider.kube.client import Client
from vk_provider.kube.resources import Resource

Json = dict[str, Any]

_PATH: Final = re.compile(r"(/apis?/.*?v1[^/]*)(?:/namespaces/([^/]+))?/([a-z]+)(?:/([^/]+))?(?:/([a-z]+))?")
_PAIR: Final = re.compile(r"([^!=]+)(!?=)(.*)")


class ObjectServer(Client):
    """Serves the Client's interface. `requests` counts (verb, type); `refuse` may raise for a request."""

    server = "https://objects.example"

    def __init__(self) -> None:
        self.restores, self.last_sign_of_life = 0, 0.0
        self.objects: dict[tuple[str, str, str], Json] = {}  # type, namespace, name
        self.requests: Counter[tuple[str, str]] = Counter()
        self.watching: Counter[str] = Counter()  # open watches by type
        self.refuse: Callable[[str, str, str], ApiError | None] = lambda _verb, _type, _name: None
        self.latency = 0.0  # seconds to and from it
        self.now = datetime(2026, 3, 1, 10, tzinfo=UTC)
        self._versions = itertools.count(10)
        self._open: list[tuple[str, str, Mapping[str, str], asyncio.Queue[bytes]]] = []

    def server_time(self) -> datetime:
        return self.now

    def timestamp(self) -> str:
        return "2026-03-01T10:00:00Z"

    # What the test does.

    def put(self, resource: Resource, name: str, namespace: str = "", **parts: Any) -> Json:
        """Creates or replaces an object; parts of `metadata` are merged into it."""
        key = (resource.plural, namespace, name)
        before = self.objects.get(key)
        found = {**parts, "metadata": {"name": name, "uid": f"uid-of-{name}", **parts.get("metadata", {})}}
        if namespace:
            found["metadata"]["namespace"] = namespace
        self._store(key, found, "MODIFIED" if before else "ADDED")
        return found

    def remove(self, resource: Resource, name: str, namespace: str = "") -> None:
        self._drop((resource.plural, namespace, name))

    def names(self, resource: Resource, namespace: str = "") -> set[str]:
        """The names of all objects of a type, of one namespace or all."""
        return {
            name
            for type, space, name in self.objects
            if type == resource.plural and (not namespace or space == namespace)
        }

    def find(self, resource: Resource, name: str, namespace: str = "") -> Json | None:
        return self.objects.get((resource.plural, namespace, name))

    # What the Client does.

    async def close(self) -> None: ...

    async def stream(self, path: str, query: Mapping[str, str], *, inactivity: float) -> AsyncGenerator[bytes, None]:
        namespace, type, _, _ = _parts(path)
        self._count("watch", type, query.get("fieldSelector", ""))
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        if "sendInitialEvents" in query:
            for key, found in self.objects.items():
                if key[0] == type and namespace in ("", key[1]) and _selected(found, query):
                    queue.put_nowait(_event("ADDED", found))
            bookmark = {
                "resourceVersion": str(next(self._versions)),
                "annotations": {"k8s.io/initial-events-end": "true"},
            }
            queue.put_nowait(_event("BOOKMARK", {"metadata": bookmark}))
        watch = (type, namespace, query, queue)
        self._open.append(watch)
        self.watching[type] += 1
        try:
            while True:
                yield await queue.get()
        finally:
            self._open.remove(watch)
            self.watching[type] -= 1

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",
        deadline: float = 30.0,
    ) -> bytes:
        await asyncio.sleep(self.latency)
        answer = self._answer(method, path, query or {}, json.loads(body) if body else {})
        await asyncio.sleep(self.latency)
        return answer

    def _answer(self, method: str, path: str, query: Mapping[str, str], sent: Any) -> bytes:
        namespace, type, name, subresource = _parts(path)
        if method == "GET" and not name:
            self._count("list", type, "")
            selected = [
                found
                for key, found in self.objects.items()
                if key[0] == type and namespace in ("", key[1]) and _selected(found, query)
            ]
            return json.dumps({"metadata": {"resourceVersion": str(next(self._versions))}, "items": selected}).encode()
        name = name or sent.get("metadata", {}).get("name", "")
        self._count(f"{method.lower()}{subresource and '/' + subresource}", type, name)
        key = (type, namespace, name)
        if subresource == "token":
            return json.dumps({"status": {"token": "t", "expirationTimestamp": "2026-03-01T11:00:00Z"}}).encode()
        found = self.objects.get(key)
        if method == "POST":
            if found is not None:
                raise api_error(409, "AlreadyExists", f"{type} {name!r} already exists")
            metadata = {"uid": f"uid-{next(self._versions)}", **sent["metadata"]}
            return json.dumps(self._store(key, {**sent, "metadata": metadata}, "ADDED")).encode()
        if found is None:
            raise api_error(404, "NotFound", f"{type} {name!r} not found")
        if method == "DELETE":
            wanted = sent.get("preconditions", {}).get("uid")
            if wanted and wanted != found["metadata"]["uid"]:
                raise api_error(409, "Conflict", "the UID in the precondition does not match")
            self._drop(key)
        elif method == "PATCH":
            changed = _json_patch(found, sent) if isinstance(sent, list) else merge(found, sent)
            immutable = found.get("immutable") and (
                changed.get("data") != found.get("data") or not changed["immutable"]
            )
            if immutable or changed.get("type") != found.get("type"):
                raise api_error(422, "Invalid", "field is immutable")
            found = self._store(key, changed, "MODIFIED")
        return json.dumps(found).encode()

    def _count(self, verb: str, type: str, name: str) -> None:
        self.requests[verb, type] += 1
        if error := self.refuse(verb, type, name):
            raise error

    def _store(self, key: tuple[str, str, str], found: Json, event: str) -> Json:
        found = {**found, "metadata": {**found["metadata"], "resourceVersion": str(next(self._versions))}}
        self.objects[key] = found
        self._tell(key, event, found)
        return found

    def _drop(self, key: tuple[str, str, str]) -> None:
        found = self.objects.pop(key)
        metadata = {**found["metadata"], "resourceVersion": str(next(self._versions))}
        self._tell(key, "DELETED", {**found, "metadata": metadata})

    def _tell(self, key: tuple[str, str, str], event: str, found: Json) -> None:
        for type, namespace, query, queue in self._open:
            if type == key[0] and namespace in ("", key[1]) and _selected(found, query):
                queue.put_nowait(_event(event, found))


def _parts(path: str) -> tuple[str, str, str, str]:
    """Namespace, type, name and subresource."""
    match = _PATH.fullmatch(path)
    assert match, path
    _, namespace, type, name, subresource = match.groups(default="")
    return namespace, type, name, subresource


def _event(type: str, found: Json) -> bytes:
    return json.dumps({"type": type, "object": found}).encode()


def _selected(found: Json, query: Mapping[str, str]) -> bool:
    """Equality and inequality only; of fields only those of metadata, all others match."""
    metadata = found["metadata"]
    pairs = [(pair, metadata.get("labels") or {}) for pair in query.get("labelSelector", "").split(",") if pair]
    pairs += [
        (pair.removeprefix("metadata."), metadata)
        for pair in query.get("fieldSelector", "").split(",")
        if pair.startswith("metadata.")
    ]
    for pair, values in pairs:
        match = _PAIR.fullmatch(pair)
        assert match, pair
        name, operator, value = match.groups()
        if (values.get(name) == value) != (operator == "="):
            return False
    return True


def _json_patch(found: Json, operations: list[Json]) -> Json:
    changed: Json = json.loads(json.dumps(found))
    for operation in operations:
        *parents, last = operation["path"].strip("/").split("/")
        holder = changed
        for part in parents:
            holder = holder[part]
        if operation["op"] == "test" and holder.get(last) != operation["value"]:
            raise api_error(422, "Invalid", f"the server rejected our request: test of {operation['path']}")
        if operation["op"] == "add":
            holder[last] = operation["value"]
    return changed
