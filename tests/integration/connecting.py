"""Clients under test, connected to a real API server through a proxy."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from tests.cluster import BINDINGS, ApiFailure, Cluster
from tests.link import SERVER_NAME
from tests.proxy import Proxy
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.resources import SERVICE_ACCOUNTS


def document(cluster: Cluster, proxy: Proxy | None, user: dict[str, Any], *, name: str = SERVER_NAME) -> dict[str, Any]:
    """A kubeconfig with the URL of the proxy. Without `name`, the server's certificate must contain its address."""
    entry = {"server": cluster.server, "certificate-authority-data": cluster.ca_data}
    if proxy is not None:
        entry["server"] = f"https://127.0.0.1:{proxy.port}"
        if name:
            entry["tls-server-name"] = name
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "it", "cluster": entry}],
        "users": [{"name": "it", "user": user}],
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "current-context": "it",
    }


@contextlib.asynccontextmanager
async def client_through(cluster: Cluster, proxy: Proxy | None, *, name: str = SERVER_NAME) -> AsyncIterator[Client]:
    """A client with an administrator's token."""
    content = json.dumps(document(cluster, proxy, {"token": admin_token(cluster)}, name=name))
    async with Client(Kubeconfig.from_secret(content.encode(), "test").credentials()) as client:
        yield client


def admin_token(cluster: Cluster, account: str = "test-admin") -> str:
    """The token of a service account with all permissions."""
    subject = {"kind": "ServiceAccount", "name": account, "namespace": "default"}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    for resource, body, namespace in (
        (SERVICE_ACCOUNTS, {}, "default"),
        (BINDINGS, {"roleRef": reference, "subjects": [subject]}, ""),
    ):
        try:
            cluster.create(resource, {"metadata": {"name": account}, **body}, namespace)
        except ApiFailure as error:
            if error.status != 409:
                raise
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}}
    token: str = cluster.call("POST", SERVICE_ACCOUNTS.path(account, "default", "token"), request)["status"]["token"]
    return token
