"""The few requests that localkube itself sends to an API server, without the start time of kubectl."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from .state import ClusterDirectory, Record

_TIMEOUT_SECONDS = 5.0


class ApiError(Exception):
    """A request failed. `status` is the HTTP status, or 0 if the API server did not answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """A cluster's API server, used as its administrator. Each request opens a connection: they are few, and servers
    restart.
    """

    def __init__(self, record: Record, directory: ClusterDirectory) -> None:
        self._address, self._port = record.address, record.ports.apiserver
        self._context = ssl.create_default_context(cafile=str(directory.pki / "ca.crt"))
        self._context.load_cert_chain(directory.pki / "admin.crt", directory.pki / "admin.key")

    def _connection(self, timeout: float = _TIMEOUT_SECONDS) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address, self._port, timeout=timeout, context=self._context)

    @staticmethod
    def _send(connection: http.client.HTTPSConnection, method: str, path: str, body: object) -> str:
        """The text of a successful answer."""
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"})
            with connection.getresponse() as response:  # of a server that is stopping, it owns the socket
                text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise ApiError(0, f"{method} {path}: {error}") from error
        if response.status >= 300:
            raise ApiError(response.status, f"{method} {path}: status {response.status}: {text[:300]}")
        return text

    def request(self, method: str, path: str, body: object = None, timeout: float = _TIMEOUT_SECONDS) -> str:
        """The text of a successful answer. Raises ApiError, also when no answer arrives within `timeout` seconds."""
        with contextlib.closing(self._connection(timeout)) as connection:
            return self._send(connection, method, path, body)

    def get(self, path: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.request("GET", path))
        return answer

    def has(self, path: str) -> bool:
        """Whether the API server returns the object now. False also when the request fails."""
        try:
            self.request("GET", path)
        except ApiError:
            return False
        return True

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Creates an object. An object that exists already stays as it is.

        Checks for the object after any error: a Service that exists is rejected for its address, not for its name.
        """
        try:
            self.request("POST", path, body)
        except ApiError:
            if not self.has(f"{path}/{body['metadata']['name']}"):
                raise

    def create_all(self, path: str, bodies: Iterable[dict[str, Any]]) -> None:
        """Creates many objects over one connection. Objects that exist already stay as they are."""
        with contextlib.closing(self._connection()) as connection:
            for body in bodies:
                try:
                    self._send(connection, "POST", path, body)
                except ApiError as error:
                    if error.status != HTTPStatus.CONFLICT:
                        raise

    def ready_nodes(self) -> int:
        """The number of nodes whose condition Ready is True."""
        conditions = [item["status"].get("conditions", []) for item in self.get("/api/v1/nodes")["items"]]
        return sum(any(one["type"] == "Ready" and one["status"] == "True" for one in node) for node in conditions)

    def is_ready(self, timeout: float = _TIMEOUT_SECONDS) -> bool:
        try:
            return self.request("GET", "/readyz", timeout=timeout) == "ok"
        except ApiError:
            return False


def collection_path(manifest: dict[str, Any]) -> str:
    """The path to which objects of this kind and namespace are posted."""
    version, kind = manifest["apiVersion"], manifest["kind"].lower()
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    namespace = manifest["metadata"].get("namespace")
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{kind}s"
