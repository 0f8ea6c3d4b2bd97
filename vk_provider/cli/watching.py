"""Waits for a state of one object of the parent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster, decode
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Object
from vk_provider.kube.resources import Resource


async def until(
    client: Client, resource: Resource, name: str, done: Callable[[Object | None], bool], seconds: float
) -> None:
    """Returns as soon as `done` is true of a cluster-scoped object; its argument is None if the object does not exist.

    `done` gets the present state first, then the newest state after each change. Raises TimeoutError after `seconds`.
    Until then, failed requests are repeated.
    """
    informer: Informer[Object] = Informer(client, resource, Object, fields=f"metadata.name={name}")
    changed = asyncio.Event()
    informer.on_change(lambda before, after: changed.set())
    async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(informer.run())
        await informer.synced.wait()
        while not done(informer.items.get(name)):
            changed.clear()
            await changed.wait()
        watch.cancel()


async def until_member(client: Client, name: str, done: Callable[[MemberCluster | None], bool], seconds: float) -> None:
    """`until` for a MemberCluster."""
    await until(client, MEMBER_CLUSTERS, name, lambda raw: done(decode(raw) if raw else None), seconds)
