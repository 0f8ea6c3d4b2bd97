"""The connection to the parent at the provider's start: retries, and permanent errors."""

from __future__ import annotations

import pytest
from aiohttp import web

from tests.gateway import Gateway, failure
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.config import Settings
from vk_provider.errors import ApiError
from vk_provider.kube.resources import ENDPOINT_SLICES, NAMESPACES
from vk_provider.parent import connect
from vk_provider.translate.state.freeze import Freeze

SLICE = ENDPOINT_SLICES.path("kubernetes", "default")
ANSWERS = {
    NAMESPACES.path("kube-system"): {"metadata": {"name": "kube-system", "uid": "it"}},
    MEMBER_CLUSTERS.path(): {"metadata": {}, "items": []},
    SLICE: {
        "metadata": {"name": "kubernetes"},
        "endpoints": [{"addresses": ["192.0.2.1"]}],
        "ports": [{"port": 6443}],
    },
}


@pytest.mark.parametrize(("status", "reason"), [(403, "Forbidden"), (410, "Expired"), (500, "InternalError")])
async def test_a_connection_to_a_parent_that_is_not_ready_is_retried(status: int, reason: str) -> None:
    async def script(request: web.Request) -> web.Response:
        if len(gateway.asked) == 1:
            return failure(status, reason)
        return web.json_response(ANSWERS[request.path])

    async with Gateway(script) as gateway, gateway.client() as client:
        parent = await connect(client, Settings(), Freeze())
    assert (parent.uid, parent.host, parent.port) == ("it", "192.0.2.1", "6443")


@pytest.mark.parametrize(("status", "reason"), [(400, "BadRequest"), (401, "Unauthorized"), (404, "NotFound")])
async def test_a_permanent_error_of_the_parent_is_not_retried(status: int, reason: str) -> None:
    async def script(request: web.Request) -> web.Response:
        return failure(status, reason)

    async with Gateway(script) as gateway, gateway.client() as client:
        with pytest.raises(ApiError, match=reason):
            await connect(client, Settings(), Freeze())
        assert len(gateway.asked) == 1


@pytest.mark.parametrize("nothing", [None, {"metadata": {"name": "kubernetes"}, "endpoints": None, "ports": None}])
async def test_the_provider_waits_for_an_address_that_is_advertised_late(nothing: dict[str, object] | None) -> None:
    async def script(request: web.Request) -> web.Response:
        if request.path == SLICE and [each.path for each in gateway.asked].count(SLICE) == 1:
            return failure(404, "NotFound") if nothing is None else web.json_response(nothing)
        return web.json_response(ANSWERS[request.path])

    async with Gateway(script) as gateway, gateway.client() as client:
        parent = await connect(client, Settings(), Freeze())
    assert (parent.host, parent.port) == ("192.0.2.1", "6443")


async def test_a_parent_on_the_loopback_advertises_nothing_and_is_served(caplog: pytest.LogCaptureFixture) -> None:
    async def script(request: web.Request) -> web.Response:
        return failure(404, "NotFound") if request.path == SLICE else web.json_response(ANSWERS[request.path])

    async with Gateway(script) as gateway, gateway.client() as client:
        parent = await connect(client, Settings(), Freeze())
        assert f"http://{parent.host}:{parent.port}" == gateway.server
    assert "pods in members cannot reach the parent's API" in caplog.text
