"""The addresses that the provider finds at its start: its own, and that of the parent for pods in members."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web

from tests.gateway import Gateway, client_of, failure
from vk_provider import parent
from vk_provider.errors import UnreachableError
from vk_provider.kube.client import Client
from vk_provider.kube.resources import ENDPOINT_SLICES

SLICE = ENDPOINT_SLICES.path("kubernetes", "default")
ADVERTISED = {
    "metadata": {"name": "kubernetes"},
    "endpoints": [{"addresses": ["192.0.2.1"]}],
    "ports": [{"port": 6443}],
}
Resolve = Callable[[dict[str, list[tuple[int, str]]]], None]


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Resolve:
    """Sets the families and addresses of names; others have none. Blocking look-ups fail."""

    def set_names(names: dict[str, list[tuple[int, str]]]) -> None:
        async def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
            if host not in names:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            return [(family, socket.SOCK_DGRAM, 0, "", (address, port)) for family, address in names[host]]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)

    return set_names


def client(server: str, proxy: str | None = None) -> Client:
    found = client_of(server)
    found.credentials.proxy = proxy
    return found


async def test_a_parent_with_an_ipv6_address_only_has_a_way_there(resolves: Resolve) -> None:
    resolves({"six": [(socket.AF_INET6, "::1")]})
    async with client("https://six:6443") as six:
        assert await parent._own_address(six) == "::1"


async def test_an_address_without_a_route_is_left_out(resolves: Resolve) -> None:
    resolves({"both": [(socket.AF_INET, "255.255.255.255"), (socket.AF_INET, "127.0.0.1")]})
    async with client("https://both:6443") as both:
        assert await parent._own_address(both) == "127.0.0.1"


async def test_a_name_that_only_the_proxy_resolves_is_reached_on_the_way_to_the_proxy(resolves: Resolve) -> None:
    resolves({"proxy": [(socket.AF_INET, "127.0.0.1")]})
    async with client("https://inside:6443", "http://proxy:3128") as inside:
        assert await parent._own_address(inside) == "127.0.0.1"


async def test_a_name_that_cannot_be_resolved_is_an_error_with_a_remedy(resolves: Resolve) -> None:
    resolves({})
    async with client("https://nowhere:6443") as nowhere:
        with pytest.raises(UnreachableError, match=r"nowhere: .*--kubelet-address"):
            await parent._own_address(nowhere)


@pytest.mark.parametrize("path", ["", "/", "/k8s/clusters/c-1"])
async def test_a_parent_behind_a_path_gives_pods_the_address_that_it_advertises(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def script(request: web.Request) -> web.Response:
        return web.json_response(ADVERTISED)

    async with Gateway(script) as gateway, gateway.client() as below:
        monkeypatch.setattr(type(below), "server", property(lambda self: f"https://gateway.example{path}"))
        monkeypatch.setattr(below, "_url", lambda *_: f"{gateway.server}{SLICE}")
        expected = ("192.0.2.1", "6443") if path.strip("/") else ("gateway.example", "443")
        assert await parent._address(below) == expected


async def test_a_parent_behind_a_path_that_advertises_nothing_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(request: web.Request) -> web.Response:
        return failure(404, "NotFound")

    monkeypatch.setattr(parent, "_ADVERTISES", 0.0)
    async with Gateway(script) as gateway, gateway.client() as below:
        monkeypatch.setattr(type(below), "server", property(lambda self: "https://gateway.example/k8s"))
        monkeypatch.setattr(below, "_url", lambda *_: f"{gateway.server}{SLICE}")
        await parent._address(below)
    assert "pods in members cannot reach the parent's API" in caplog.text
