"""The loop for the member's namespaces, against scripted servers."""

from __future__ import annotations

import asyncio
import dataclasses

from aiohttp import web

from tests.gateway import Gateway, bookmark, event, item, stream
from tests.waiting import eventually_here
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Node, PartialObject
from vk_provider.kube.resources import NAMESPACES, NODES
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.sync.dependents.namespaces import NamespaceLoop
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node


async def test_a_loop_that_has_ended_receives_no_events_of_the_shared_cache_of_namespaces() -> None:
    deleted = asyncio.Event()

    async def script(request: web.Request) -> web.StreamResponse:
        if "sendInitialEvents" in request.query:
            return await stream(request, event("ADDED", shop(3)), bookmark(5, end_of_list=True), stay=False)
        await deleted.wait()
        return await stream(request, event("DELETED", shop(6)))

    async with Gateway(script) as gateway, gateway.client() as client, asyncio.TaskGroup() as group:
        namespaces: Informer[PartialObject] = Informer(client, NAMESPACES, PartialObject)
        watching = group.create_task(namespaces.run())
        await namespaces.synced.wait()
        names = Names("alpha", "it")
        nodes: Informer[MemberNode] = Informer(client, NODES, Node, keep=member_node)
        caches = dataclasses.replace(
            DependentCaches.of(client, names, [], nodes),
            namespaces=namespaces,
        )
        loop = NamespaceLoop(names, client, client, namespaces, caches, lambda _: None)
        serving = group.create_task(loop.run())
        await asyncio.sleep(0)  # it subscribes
        serving.cancel()
        await asyncio.wait([serving])
        deleted.set()
        await eventually_here(lambda: not namespaces.items, "the informer has received the deletion")
        assert len(loop.queue) == 0
        watching.cancel()


def shop(version: int) -> dict[str, object]:
    found = item("shop", version)
    del found["metadata"]["namespace"]
    return found
