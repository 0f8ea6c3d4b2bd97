"""Waiting for one object of the parent to become what a command waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Described
from vk_provider.kube.resources import Resource

T = TypeVar("T", bound=Described)


async def until(
    client: Client, resource: Resource, name: str, type: type[T], done: Callable[[T | None], bool], seconds: float
) -> T | None:
    """The object (cluster-scoped) as soon as `done` is true of it; None stands for absent.

    `done` sees every state that the watch brings, the present one first. Raises TimeoutError after `seconds`; a
    parent that does not answer is asked again until then.
    """
    informer: Informer[T] = Informer(client, resource, type, fields=f"metadata.name={name}")
    changed = asyncio.Event()
    informer.on_change(lambda before, after: changed.set())
    async with asyncio.timeout(seconds), asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(informer.run())
        await informer.synced.wait()
        while not done(item := informer.items.get(name)):
            changed.clear()
            await changed.wait()
        watch.cancel()
    return item
