"""A cluster for tests: objects as dicts, over an HTTP client that is independent of the client under test.

`Cluster` also reads the API server's audit log, which contains the requests of all clients.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import localkube
import yaml
from localkube import ClusterInfo

from tests.waiting import eventually
from vk_provider.kube.resources import LEASES, Resource

Json = dict[str, Any]

DEPLOYMENTS: Final = Resource("apps", "v1", "deployments", "Deployment")
CLUSTER_ROLES: Final = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False)
BINDINGS: Final = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False
)
MERGE: Final = "application/merge-patch+json"
STRATEGIC: Final = "application/strategic-merge-patch+json"


class ApiFailure(AssertionError):
    """The API server rejected a request. An AssertionError, so that `eventually` retries."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass(frozen=True)
class Request:
    """One finished request from the audit log."""

    verb: str
    uri: str
    agent: str
    status: int
    resource: str
    subresource: str
    namespace: str
    name: str
    stage: str


class Cluster:
    """One cluster of localkube, with the rights of its administrator. Use it from one thread."""

    def __init__(self, info: ClusterInfo, root: Path) -> None:
        self.info, self.name, self.kubeconfig, self.root = info, info.name, info.kubeconfig, root
        document = yaml.safe_load(info.kubeconfig.read_text())
        self.ca_data: str = document["clusters"][0]["cluster"]["certificate-authority-data"]
        self._context = ssl.create_default_context(cadata=base64.b64decode(self.ca_data).decode())
        self._context.load_cert_chain(info.directory / "pki" / "admin.crt", info.directory / "pki" / "admin.key")
        self._connection: http.client.HTTPSConnection | None = None

    @property
    def server(self) -> str:
        return self.info.server

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, str] | None = None,
        content_type: str = "application/json",
    ) -> Any:
        """The decoded answer. Raises ApiFailure."""
        text = self._send(method, path, body, query or {}, content_type)
        return json.loads(text) if text.startswith((b"{", b"[")) else text.decode()

    def _send(self, method: str, path: str, body: Any, query: Mapping[str, str], content_type: str) -> bytes:
        uri = path + ("?" + urlencode(query) if query else "")
        payload = None if body is None else json.dumps(body)
        fresh = self._connection is None
        if self._connection is None:
            url = urlsplit(self.server)
            self._connection = http.client.HTTPSConnection(
                url.hostname or "", url.port, timeout=20, context=self._context
            )
        try:
            self._connection.request(method, uri, payload, {"Content-Type": content_type, "User-Agent": "test"})
            with self._connection.getresponse() as response:  # of a server that is stopping, it owns the socket
                text = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if fresh:
                raise ApiFailure(0, f"{method} {uri}: {error!r}") from error
            return self._send(method, path, body, query, content_type)
        if response.status >= 300:
            raise ApiFailure(response.status, f"{method} {uri}: {text[:500].decode(errors='replace')}")
        return text

    def get(self, resource: Resource, name: str, namespace: str = "") -> Json:
        answer: Json = self.call("GET", resource.path(name, namespace))
        return answer

    def find(self, resource: Resource, name: str, namespace: str = "") -> Json | None:
        """The object, or None if it does not exist."""
        try:
            return self.get(resource, name, namespace)
        except ApiFailure as error:
            if error.status == 404:
                return None
            raise

    def list(self, resource: Resource, namespace: str = "", *, labels: str = "", fields: str = "") -> list[Json]:
        query = {key: value for key, value in (("labelSelector", labels), ("fieldSelector", fields)) if value}
        items: list[Json] = self.call("GET", resource.path(namespace=namespace), query=query)["items"]
        return items

    def position(self, resource: Resource) -> str:
        """The current resourceVersion of these objects."""
        version: str = self.call("GET", resource.path(), query={"limit": "1"})["metadata"]["resourceVersion"]
        return version

    def history(self, resource: Resource, name: str, since: str) -> Sequence[Json]:
        """Every version of an object after a `position`, including those of its deletion."""
        query = {
            "watch": "1",
            "resourceVersion": since,
            "timeoutSeconds": "1",
            "fieldSelector": f"metadata.name={name}",
        }
        text = self._send("GET", resource.path(), None, query, MERGE)
        return [json.loads(line)["object"] for line in text.splitlines()]

    def create(self, resource: Resource, body: Json, namespace: str = "") -> Json:
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        answer: Json = self.call("POST", resource.path(namespace=namespace), whole)
        return answer

    def apply(self, manifest: Json) -> None:
        """Creates the object of a manifest if it does not exist."""
        group, _, version = manifest["apiVersion"].rpartition("/")
        kind, metadata = manifest["kind"], manifest["metadata"]
        resource = Resource(group, version, kind.lower() + "s", kind, namespaced="namespace" in metadata)
        try:
            self.create(resource, manifest, metadata.get("namespace", ""))
        except ApiFailure as error:
            if error.status != 409:
                raise

    def ensure(self, resource: Resource, body: Json, namespace: str) -> Json | None:
        """Creates the object if it does not exist. None if it is forbidden now (no service account yet)."""
        name = body["metadata"]["name"]
        try:
            return self.find(resource, name, namespace) or self.create(resource, body, namespace)
        except ApiFailure as error:
            if error.status == 403:
                return None
            raise

    def patch(
        self,
        resource: Resource,
        name: str,
        body: Any,
        namespace: str = "",
        *,
        subresource: str = "",
        content_type: str = MERGE,
    ) -> Json:
        path = resource.path(name, namespace, subresource)
        answer: Json = self.call("PATCH", path, body, content_type=content_type)
        return answer

    def delete(self, resource: Resource, name: str, namespace: str = "", *, grace_seconds: int | None = None) -> None:
        """Deletes the object if it exists."""
        query = {} if grace_seconds is None else {"gracePeriodSeconds": str(grace_seconds)}
        try:
            self.call("DELETE", resource.path(name, namespace), query=query)
        except ApiFailure as error:
            if error.status != 404:
                raise

    def stop(self, service: str) -> None:
        """Kills the service with SIGKILL."""
        localkube.stop(self.name, service, root=self.root)

    def start(self, service: str) -> None:
        """Returns when the API server is ready and its controllers run."""
        localkube.start(self.name, service, root=self.root)
        eventually(lambda: self.call("GET", "/readyz") == "ok", f"{self.name} is ready again", 60)
        self.supervise()

    def supervise(self) -> None:
        """Starts controllers that have exited, as a kubelet does with static pods.

        They exit if the API server stops while they start, or if its answers are inconsistent ("Scheduler cache is
        corrupted").
        """
        for service in self._controllers:
            localkube.start(self.name, service, root=self.root)

    def cut(self) -> None:
        """Drops every packet between the cluster and all others, until `heal`."""
        localkube.cut(self.name, root=self.root)

    def heal(self) -> None:
        localkube.heal(self.name, root=self.root)

    def backup(self) -> Path:
        """A copy of etcd's current data, for `restore`."""
        copy = self.info.directory / f"backup-{time.monotonic_ns()}"
        self.stop("etcd")
        shutil.copytree(self.info.directory / "etcd", copy)
        self.start("etcd")
        return copy

    def restore(self, backup: Path) -> None:
        """Restores etcd's data. Restarts all watching components except the provider, as Kubernetes recommends."""
        for service in (*self._controllers, "apiserver", "etcd"):
            self.stop(service)
        shutil.rmtree(self.info.directory / "etcd")
        shutil.copytree(backup, self.info.directory / "etcd")
        self.revive()

    def revive(self) -> None:
        """Ends a longer outage: starts the stopped services, and restarts all controllers. Controllers with leader
        election exit when they lose their leases. Those of localkube have none, and would wait up to a minute before
        they retry."""
        localkube.start(self.name, "etcd", root=self.root)
        self.start("apiserver")
        for controller in self._controllers:
            self.stop(controller)
        if "kwok" in self._controllers:
            # A new kwok has another identity, and would wait until the leases of its predecessor expire.
            self.call("DELETE", LEASES.path(namespace="kube-node-lease"))
        self.supervise()

    @cached_property
    def _controllers(self) -> Sequence[str]:
        (status,) = [one for one in localkube.status(root=self.root) if one.info.name == self.name]
        return [name for name in ("controller-manager", "scheduler", "kwok") if name in status.services]

    def audit_position(self) -> int:
        """The current end of the audit log."""
        return self._audit_log.stat().st_size

    def requests(self, since: int = 0) -> Sequence[Request]:
        """The requests after an `audit_position`. A watch counts when it starts and again when it ends."""
        with self._audit_log.open("rb") as log:
            log.seek(since)
            lines = log.read().split(b"\n")[:-1]
        return [_request(json.loads(line)) for line in lines if line.startswith(b"{") and line.endswith(b"}")]

    @property
    def _audit_log(self) -> Path:
        assert self.info.audit_log is not None
        return self.info.audit_log


def _request(entry: Json) -> Request:
    about = entry.get("objectRef") or {}
    return Request(
        verb=entry["verb"],
        uri=entry["requestURI"],
        agent=entry.get("userAgent", ""),
        status=(entry.get("responseStatus") or {}).get("code", 0),
        resource=about.get("resource", ""),
        subresource=about.get("subresource", ""),
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        stage=entry["stage"],
    )
