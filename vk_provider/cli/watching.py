"""Waiting for one object of the parent to become what a command waits for."""

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
    """Returns as soon as `done` is true of the object (cluster-scoped); None stands for absent.

    `done` sees the present state first, and the newest one after each change. Raises TimeoutError after `seconds`; a
    parent that does not answer is asked again until then.
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
    """`until` of a MemberCluster."""
    await until(client, MEMBER_CLUSTERS, name, lambda raw: done(decode(raw) if raw else None), seconds)
