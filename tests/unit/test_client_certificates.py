"""Client certificates of an exec plugin that are replaced. The server accepts one of two, by the common name."""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme
from aiohttp import web

from tests.gateway import Gateway, bookmark, failure, item, stream
from tests.unit.kubeconfigs import pass_time
from vk_provider.errors import UnauthorizedError
from vk_provider.kube.auth.kubeconfig import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.objects import PartialObject
from vk_provider.kube.resources import CONFIG_MAPS


@asynccontextmanager
async def server(tmp_path: Path) -> AsyncIterator[SimpleNamespace]:
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(tls)
    ca.configure_trust(tls)
    tls.verify_mode = ssl.CERT_REQUIRED
    world = SimpleNamespace(accepted="one", path=tmp_path, runs=tmp_path / "runs", pause=0.0)

    async def script(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        subject = request.transport.get_extra_info("peercert")["subject"]
        if dict(pair for each in subject for pair in each)["commonName"] != world.accepted:
            return failure(401, "Unauthorized")
        await asyncio.sleep(world.pause)
        return await stream(request, bookmark(1)) if "watch" in request.query else web.json_response(item("a", 1))

    for name in ("one", "two"):
        pair = ca.issue_cert("x.example", common_name=name)
        status = {
            "clientCertificateData": pair.cert_chain_pems[0].bytes().decode(),
            "clientKeyData": pair.private_key_pem.bytes().decode(),
        }
        answer = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential", "status": status}
        (tmp_path / name).write_text(json.dumps(answer))
    prints(world, "one")
    (tmp_path / "login").write_text(f"#!/bin/sh\necho x >> {world.runs}\ncat {tmp_path}/current\n")
    (tmp_path / "login").chmod(0o700)
    async with Gateway(script, tls=tls) as gateway:
        plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": str(tmp_path / "login")}
        authority = base64.b64encode(ca.cert_pem.bytes()).decode()
        document = {
            "clusters": [
                {"name": "it", "cluster": {"server": gateway.server, "certificate-authority-data": authority}}
            ],
            "users": [{"name": "it", "user": {"exec": plugin}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
            "current-context": "it",
        }
        (tmp_path / "config").write_text(json.dumps(document))
        async with Client(Kubeconfig.from_files(str(tmp_path / "config")).credentials()) as client:
            world.client = client
            yield world


def prints(world: SimpleNamespace, name: str) -> None:
    """What the plugin prints from now on."""
    (world.path / "current").write_text((world.path / name).read_text())


async def test_a_new_certificate_is_used_at_once_and_open_streams_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server(tmp_path) as world:
        client: Client = world.client
        await client.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
        await client.urgent.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
        async with aclosing(client.stream("/watch", {"watch": "1"}, inactivity=30)) as lines:
            assert await anext(lines)
            prints(world, "two")
            world.accepted = "two"
            pass_time(monkeypatch, 10.0)
            await client.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
            await client.urgent.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
            assert len(client._connections.watches) == 1
        assert world.runs.read_text() == "x\nx\n"


async def test_a_credential_that_is_refused_runs_the_plugin_once_in_ten_seconds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with server(tmp_path) as world:
        world.accepted = "another"
        now = pass_time(monkeypatch, 0.0)
        for moment in (0.0, 1.0, 9.0, 11.0, 12.0):
            now[0] = moment + 100.0
            with pytest.raises(UnauthorizedError):
                await world.client.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
        assert world.runs.read_text() == "x\nx\n"


async def test_a_plugin_that_fails_runs_once_in_ten_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(tmp_path) as world:
        (tmp_path / "current").unlink()
        now = pass_time(monkeypatch, 0.0)
        for moment in (0.0, 1.0, 9.0, 11.0):
            now[0] = moment + 100.0
            with pytest.raises(Exception, match="exit code 1"):
                await world.client.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
        assert world.runs.read_text() == "x\nx\n"


async def test_other_credentials_are_used_at_once_and_requests_in_flight_go_on(tmp_path: Path) -> None:
    async with server(tmp_path) as world:
        client: Client = world.client
        session = await client.open("GET", "/session?watch=1")
        world.pause = 0.3
        slow = asyncio.create_task(client.get(CONFIG_MAPS, "a", "ns", type=PartialObject))
        await asyncio.sleep(0.1)
        prints(world, "two")
        await client.use(Kubeconfig.from_files(str(tmp_path / "config")).credentials())
        await slow
        world.accepted = "two"
        await client.urgent.get(CONFIG_MAPS, "a", "ns", type=PartialObject)
        assert await session.content.readline()
        session.close()
