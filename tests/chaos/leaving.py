"""The end of a run: users delete everything, the members leave, and nothing of the provider remains."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Final

from tests import members
from tests.chaos.actions import MEMBERS, NAMESPACES
from tests.chaos.world import World
from tests.waiting import eventually
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES as NAMESPACE
from vk_provider.kube.resources import NODES

_DEADLINE: Final = 120.0  # seconds of each part


def leave(world: World) -> list[str]:
    """Returns what is left behind."""
    try:
        for name in NAMESPACES:
            world.parent.delete(NAMESPACE, name)
        for name in NAMESPACES:
            eventually(
                partial(members.namespace_gone, world.parent, name),
                f"namespace {name} is deleted in the parent",
                _DEADLINE,
            )
        for name in MEMBERS:
            members.unjoin(world.parent, name, _DEADLINE)
    except AssertionError as error:
        return [str(error)]
    return list(_left(world))


def _left(world: World) -> Iterator[str]:
    for name in MEMBERS:
        if world.parent.find(NODES, name) is not None:
            yield f"Node {name} is left in the parent"
        cluster = world.clusters[name]
        yield from (f"{each} is left in {name}" for each in sorted(members.remains(cluster, name)))
        for namespace in cluster.list(NAMESPACE, labels=f"{wellknown.NODE_LABEL}={name}"):
            if "deletionTimestamp" not in namespace["metadata"]:
                yield f"namespace {namespace['metadata']['name']} is left in {name}"
