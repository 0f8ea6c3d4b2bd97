"""The client against a real API server: deadlines, errors, credentials and connections."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest
from aiohttp import web

from tests.cluster import MERGE, Cluster
from tests.gateway import Gateway, failure
from tests.integration.connecting import admin_token, client_through, document
from tests.integration.watching import watching
from tests.proxy import Proxy
from tests.waiting import eventually_here
from vk_provider.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
)
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject, Payload
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS


async def test_errors_contain_the_message_of_the_server(client: Client, namespace: str) -> None:
    conf = {"metadata": {"name": "conf"}}
    with pytest.raises(NotFoundError, match='configmaps "conf" not found') as missing:
        await client.get(CONFIG_MAPS, "conf", namespace, type=Payload)
    assert (missing.value.status, missing.value.reason) == (404, "NotFound")
    await client.create(CONFIG_MAPS, conf, namespace, type=Payload)
    with pytest.raises(ConflictError, match='configmaps "conf" already exists') as taken:
        await client.create(CONFIG_MAPS, conf, namespace, type=Payload)
    assert taken.value.reason == "AlreadyExists"
    with pytest.raises(InvalidError, match="Required value") as invalid:
        await client.create(
            PODS, {"metadata": {"name": "p"}, "spec": {"containers": []}}, namespace, type=PartialObject
        )
    assert invalid.value.status == 422
    with pytest.raises(InvalidError) as malformed:
        await client.create(PODS, {"metadata": {"name": "p"}, "spec": "?"}, namespace, type=PartialObject)
    assert malformed.value.status == 400


async def test_a_403_names_the_user_and_the_missing_permission(parent: Cluster, proxy: Proxy, namespace: str) -> None:
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = SERVICE_ACCOUNTS.path("default", namespace, "token")
    token = parent.call("POST", path, request)["status"]["token"]
    content = json.dumps(document(parent, proxy, {"token": token})).encode()
    async with Client(Kubeconfig.from_secret(content, "test").credentials()) as client:
        with pytest.raises(ForbiddenError, match=f'"system:serviceaccount:{namespace}:default" cannot list') as refused:
            await client.list(NODES, type=PartialObject)
        assert refused.value.status == 403


async def test_a_request_ends_at_its_deadline_when_the_server_is_silent(client: Client, proxy: Proxy) -> None:
    await client.get(NAMESPACES, "default", type=PartialObject)
    proxy.swallow()
    started = time.monotonic()
    with pytest.raises(UnreachableError, match="no answer in time"):
        await client.request("GET", "/readyz", deadline=0.5)
    with pytest.raises(
        UnreachableError, match="no answer in time"
    ):  # over a new connection: the TLS handshake gets no answer
        await client.request("GET", "/readyz", deadline=0.5)
    assert 1.0 <= time.monotonic() - started < 20.0, "not at the default deadline"
    proxy.restore()
    assert await client.request("GET", "/readyz") == b"ok"


async def test_a_broken_connection_is_an_unreachable_error_and_the_next_request_works(
    parent: Cluster, client: Client, proxy: Proxy, namespace: str
) -> None:
    body = {"metadata": {"name": "large"}, "data": {"value": "x" * 900_000}}
    parent.create(CONFIG_MAPS, body, namespace)
    await client.get(NAMESPACES, "default", type=PartialObject)
    proxy.cut_after(200_000)
    with pytest.raises(UnreachableError):
        await client.request("PATCH", CONFIG_MAPS.path("large", namespace), body=b"{}", content_type=MERGE)
    found = await client.get(CONFIG_MAPS, "large", namespace, type=Payload)
    assert len(found.data["value"]) == 900_000
    await proxy.refuse()
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1"):
        await client.get(NAMESPACES, "default", type=PartialObject)
    await proxy.accept()
    await client.get(NAMESPACES, "default", type=PartialObject)


async def test_a_read_over_a_connection_that_the_server_has_closed_is_sent_again(client: Client, proxy: Proxy) -> None:
    for fault in (proxy.cut, proxy.reset):
        await client.get(NAMESPACES, "default", type=PartialObject)
        connections = proxy.accepted
        fault()
        await client.get(NAMESPACES, "default", type=PartialObject)
        assert proxy.accepted == connections + 1


async def test_connections_are_reused(client: Client, proxy: Proxy) -> None:
    for _ in range(20):
        await client.get(NAMESPACES, "default", type=PartialObject)
    assert proxy.accepted == 1
    await asyncio.gather(*(client.get(NAMESPACES, "default", type=PartialObject) for _ in range(20)))
    burst = proxy.accepted
    await asyncio.gather(*(client.get(NAMESPACES, "default", type=PartialObject) for _ in range(20)))
    assert proxy.accepted == burst <= 20


async def test_a_uid_precondition_protects_another_pod_with_the_same_name(client: Client, namespace: str) -> None:
    body = {"metadata": {"name": "conf"}}
    first = await client.create(CONFIG_MAPS, body, namespace, type=Payload)
    await client.delete(CONFIG_MAPS, "conf", namespace, uid=first.metadata.uid)
    second = await client.create(CONFIG_MAPS, body, namespace, type=Payload)
    with pytest.raises(ConflictError, match=r"[Pp]recondition"):
        await client.delete(CONFIG_MAPS, "conf", namespace, uid=first.metadata.uid)
    change = {"metadata": {"uid": first.metadata.uid}, "data": {"a": "1"}}
    with pytest.raises(ConflictError, match=r"metadata\.uid"):
        await client.patch(CONFIG_MAPS, "conf", change, namespace, type=Payload)
    found = await client.get(CONFIG_MAPS, "conf", namespace, type=Payload)
    assert (found.metadata.uid, found.data) == (second.metadata.uid, {})


async def test_a_token_file_that_rotates_is_read_again_after_a_401(
    parent: Cluster, proxy: Proxy, tmp_path: Path, namespace: str
) -> None:
    token, config = tmp_path / "token", tmp_path / "config"
    token.write_text("expired")
    config.write_text(json.dumps(document(parent, proxy, {"tokenFile": str(token)})))
    async with Client(Kubeconfig.from_files(str(config)).credentials()) as client:
        with pytest.raises(UnauthorizedError, match="Unauthorized"):
            await client.get(NAMESPACES, "default", type=PartialObject)
        async with watching(client, namespace, wait=False) as seen:
            token.write_text(admin_token(parent))
            await client.get(NAMESPACES, "default", type=PartialObject)
            await eventually_here(seen.informer.synced.is_set, "the watch uses the new token, too")


async def test_the_error_about_a_name_mismatch_suggests_tls_server_name(parent: Cluster, proxy: Proxy) -> None:
    for name, words in (("10.99.99.99", "IP address mismatch"), ("elsewhere.example", "Hostname mismatch")):
        async with client_through(parent, proxy, name=name) as client:
            with pytest.raises(UnreachableError, match=words) as refused:
                await client.get(NAMESPACES, "default", type=PartialObject)
            assert refused.value.reason == "CertificateInvalid"
            assert name in str(refused.value)
            assert "tls-server-name" in str(refused.value), "the remedy is about the name, not about the CA"


async def test_the_error_about_an_untrusted_ca_names_the_field_of_the_kubeconfig(
    parent: Cluster, alpha: Cluster, proxy: Proxy
) -> None:
    config = document(parent, proxy, {"token": "x"})
    config["clusters"][0]["cluster"]["certificate-authority-data"] = alpha.ca_data
    async with Client(Kubeconfig.from_secret(json.dumps(config).encode(), "test").credentials()) as client:
        with pytest.raises(UnreachableError, match="certificate-authority-data") as refused:
            await client.get(NAMESPACES, "default", type=PartialObject)
        assert refused.value.reason == "CertificateInvalid"


async def test_a_429_is_retried_unless_retry_after_is_more_than_a_minute() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        if request.path == "/never":
            return failure(429, "TooManyRequests", "too many", Retry_After="61")
        return failure(429, "TooManyRequests", Retry_After="1") if len(gateway.asked) < 3 else web.Response(text="ok")

    async with Gateway(script) as gateway, gateway.client() as client:
        started = time.monotonic()
        assert await client.request("GET", "/busy") == b"ok"
        assert 2.0 <= time.monotonic() - started < 30.0
        async with asyncio.timeout(10):
            with pytest.raises(ApiError, match="too many") as refused:
                await client.request("GET", "/never")
        assert refused.value.retry_after == 61


async def test_a_429_is_not_retried_beyond_the_deadline_of_the_request() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return failure(429, "TooManyRequests", "too many", Retry_After="1")

    async with Gateway(script) as gateway, gateway.client() as client:
        async with asyncio.timeout(10):
            with pytest.raises(ApiError, match="too many"):
                await client.request("GET", "/readyz", deadline=1.0)


async def test_an_answer_that_is_not_json_is_an_error_with_a_clear_message() -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        return web.Response(status=502, text="<html>Bad Gateway</html>")

    async with Gateway(script) as gateway, gateway.client() as client:
        with pytest.raises(ApiError, match="Bad Gateway") as refused:
            await client.get(NAMESPACES, "default", type=PartialObject)
        assert refused.value.status == 502
