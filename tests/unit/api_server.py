"""An API server in memory, with the interface of Client: objects, UIDs, preconditions, and a record of requests."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from tests.unit.merge import merge
from vk_provider.errors import api_error
from vk_provider.kube.client import Client
from vk_provider.kube.objects import encode
from vk_provider.kube.resources import Resource

Json = dict[str, Any]


class ApiServer(Client):
    """Keeps objects by their path. Deletions take effect at once, without finalizers and grace periods."""

    def __init__(self) -> None:
        self.restores = 0
        self.objects: dict[str, Json] = {}
        self.requests: list[tuple[str, str]] = []  # method, path
        self.refuses: dict[str, Exception] = {}  # method -> what it answers
        self._version = 0

    @property
    def server(self) -> str:
        return "https://in-memory"

    def server_time(self) -> datetime:
        return datetime(2026, 3, 1, 10, tzinfo=UTC)

    def timestamp(self) -> str:
        return "2026-03-01T10:00:00Z"

    def put(self, resource: Resource, name: str, namespace: str = "", **fields: Any) -> Json:
        """Stores an object; `metadata` may be among its fields."""
        metadata = {"name": name, "uid": f"uid-{name}", **({"namespace": namespace} if namespace else {})}
        path = resource.path(name, namespace)
        return self._store(path, {**fields, "metadata": {**metadata, **fields.get("metadata", {})}})

    def find(self, resource: Resource, name: str, namespace: str = "") -> Json | None:
        return self.objects.get(resource.path(name, namespace))

    def asked(self, method: str, resource: Resource) -> list[str]:
        """The paths of the requests for this resource with this method."""
        return [path for asked, path in self.requests if asked == method and f"/{resource.plural}" in path]

    async def request(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: bytes | None = None, **_: Any
    ) -> bytes:
        self.requests.append((method, path))
        if method in self.refuses:
            raise self.refuses[method]
        sent = msgspec.json.decode(body) if body else {}
        if method == "POST":
            path = f"{path}/{sent['metadata']['name']}"
            if path in self.objects:
                raise api_error(409, "AlreadyExists", f"{path} exists")
            return encode(self._store(path, merge({"metadata": {"uid": f"uid-{self._version}"}}, sent)))
        if method == "GET" and path not in self.objects and self._is_collection(path):
            return encode({"metadata": {"resourceVersion": str(self._version)}, "items": self._listed(path, query)})
        path = path.removesuffix("/status")
        if path not in self.objects:
            raise api_error(404, "NotFound", f"{path} not found")
        found = self.objects[path]
        wanted = sent.get("preconditions") or sent.get("metadata", {})
        if any(wanted.get(key, found["metadata"][key]) != found["metadata"][key] for key in ("uid", "resourceVersion")):
            raise api_error(409, "Conflict", f"{path} is another version")
        if method == "DELETE":
            del self.objects[path]
        elif method == "PATCH":
            found = self._store(path, merge(found, sent))
        return encode(found)

    def _store(self, path: str, found: Json) -> Json:
        self._version += 1
        found["metadata"]["resourceVersion"] = str(self._version)
        self.objects[path] = found
        return found

    @staticmethod
    def _is_collection(path: str) -> bool:
        return path.rpartition("/")[2] in (
            "pods",
            "nodes",
            "leases",
            "memberclusters",
            "secrets",
            "namespaces",
            "events",
        )

    def _listed(self, path: str, query: Mapping[str, str] | None) -> list[Json]:
        node = (query or {}).get("fieldSelector", "").partition("spec.nodeName=")[2].partition(",")[0]
        start, plural = path.rsplit("/", 1)
        return [
            found
            for key, found in self.objects.items()
            if key.startswith(start)
            and key.split("/")[-2] == plural
            and (not node or found.get("spec", {}).get("nodeName") == node)
        ]
