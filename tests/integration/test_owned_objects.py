"""Objects of the provider in a member, and races with other clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
from aiohttp import web

from tests.gateway import Gateway, bookmark, failure, stream
from tests.waiting import eventually_here
from vk_provider.errors import ConflictError, NameTakenError
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, Payload
from vk_provider.kube.resources import CONFIG_MAPS
from vk_provider.sync.dependents.owned import OwnedObjects
from vk_provider.translate.names import Names

NAMES: Final = Names("alpha", "parent-uid")
MANIFEST: Final[dict[str, Any]] = {"metadata": {"name": "app", "namespace": "shop", "labels": NAMES.labels}, "data": {}}
EXISTING: Final = Metadata(name="app", namespace="shop", uid="old", resource_version="3")


def stored(labels: dict[str, str]) -> web.Response:
    metadata = MANIFEST["metadata"] | {"uid": "new", "resourceVersion": "9", "labels": labels}
    return web.json_response({"metadata": metadata, "data": {}})


@asynccontextmanager
async def config_maps(
    answers: dict[str, web.Response],
) -> AsyncIterator[tuple[OwnedObjects, Informer[Payload], list[str]]]:
    """The ConfigMaps of a member that answers by method, the cache of the provider's ones, and the used methods."""
    methods: list[str] = []

    async def script(request: web.Request) -> web.StreamResponse:
        if "watch" in request.query:
            return await stream(request, bookmark(5, end_of_list=True))
        methods.append(request.method)
        return answers[request.method]

    async with Gateway(script) as gateway, gateway.client() as client:
        cache: Informer[Payload] = Informer(client, CONFIG_MAPS, Payload)
        async with cache_running(cache):
            yield OwnedObjects(client, NAMES, CONFIG_MAPS, Payload, cache), cache, methods


@asynccontextmanager
async def cache_running(cache: Informer[Payload]) -> AsyncIterator[None]:
    running = asyncio.create_task(cache.run())
    await cache.synced.wait()
    try:
        yield
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_an_object_that_another_client_deletes_is_created_again() -> None:
    answers = {"PATCH": failure(404, "NotFound"), "POST": stored(NAMES.labels)}
    async with config_maps(answers) as (owned, cache, methods):
        await owned.write(MANIFEST, EXISTING, {})
        assert methods == ["PATCH", "POST"]
        await eventually_here(lambda: "shop/app" in cache.items, "the object is observed")


async def test_an_immutable_object_is_replaced() -> None:
    answers = {"PATCH": failure(422, "Invalid"), "DELETE": web.json_response({}), "POST": stored(NAMES.labels)}
    async with config_maps(answers) as (owned, _, methods):
        await owned.write(MANIFEST, EXISTING, {})
    assert methods == ["PATCH", "DELETE", "POST"]


async def test_an_object_of_another_client_is_a_name_conflict() -> None:
    answers = {"POST": failure(409, "AlreadyExists"), "GET": stored({})}
    async with config_maps(answers) as (owned, cache, _):
        with pytest.raises(NameTakenError, match="shop/app that is not managed by virtual node alpha"):
            await owned.write(MANIFEST, None, None)
        assert cache.items == {}


async def test_an_own_object_that_is_missing_in_the_cache_is_observed_for_the_next_attempt() -> None:
    answers = {"POST": failure(409, "AlreadyExists"), "GET": stored(NAMES.labels)}
    async with config_maps(answers) as (owned, cache, _):
        with pytest.raises(ConflictError):
            await owned.write(MANIFEST, None, None)
        assert cache.items["shop/app"].metadata.uid == "new"
