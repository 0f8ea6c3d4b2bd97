"""The few requests that localkube itself makes to an API server, without waiting for kubectl to start."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from .state import ClusterDirectory, Record

_TIMEOUT_SECONDS = 5.0


class ApiError(Exception):
    """The API server did not do what was asked; `status` is 0 where it did not answer at all."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One cluster's API server, as its administrator. A connection per request: these are few, and servers restart."""

    def __init__(self, record: Record, directory: ClusterDirectory) -> None:
        self._address, self._port = record.address, record.ports.apiserver
        self._context = ssl.create_default_context(cafile=str(directory.pki / "ca.crt"))
        self._context.load_cert_chain(directory.pki / "admin.crt", directory.pki / "admin.key")

    def request(self, method: str, path: str, body: object = None, timeout: float = _TIMEOUT_SECONDS) -> str:
        """The text of a successful answer. Raises ApiError, also when nobody answers within `timeout` seconds."""
        connection = http.client.HTTPSConnection(self._address, self._port, timeout=timeout, context=self._context)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if response.status >= 300:
            raise ApiError(response.status, f"{method} {path}: status {response.status}: {text[:300]}")
        return text

    def get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.request("GET", path))
        return answer

    def has(self, path: str) -> bool:
        """Whether the object exists, as far as the API server says so now."""
        try:
            self.request("GET", path)
        except ApiError:
            return False
        return True

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Creates an object, or leaves the one that exists as it is.

        Asks after a refusal of any kind: a Service that exists is refused for its address, not for its name.
        """
        try:
            self.request("POST", path, body)
        except ApiError:
            if not self.has(f"{path}/{body['metadata']['name']}"):
                raise

    def create_all(self, path: str, bodies: Iterable[dict[str, Any]]) -> None:
        """Creates many objects over one connection; those that exist stay as they are."""
        connection = http.client.HTTPSConnection(
            self._address, self._port, timeout=_TIMEOUT_SECONDS, context=self._context
        )
        try:
            for body in bodies:
                connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
                response = connection.getresponse()
                text = response.read().decode(errors="replace")
                if response.status >= 300 and response.status != HTTPStatus.CONFLICT:
                    raise ApiError(response.status, f"POST {path}: status {response.status}: {text[:300]}")
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"POST {path}: {error}") from error
        finally:
            connection.close()

    def ready_nodes(self) -> int:
        """How many nodes say that they are Ready."""
        conditions = [item["status"].get("conditions", []) for item in self.get("/api/v1/nodes")["items"]]
        return sum(any(one["type"] == "Ready" and one["status"] == "True" for one in node) for node in conditions)

    def is_ready(self, timeout: float = _TIMEOUT_SECONDS) -> bool:
        try:
            return self.request("GET", "/readyz", timeout=timeout) == "ok"
        except ApiError:
            return False


def collection_path(manifest: dict[str, Any]) -> str:
    """Where objects like this one are created."""
    version, kind = manifest["apiVersion"], manifest["kind"].lower()
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = manifest["metadata"].get("namespace")
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{kind}s"
