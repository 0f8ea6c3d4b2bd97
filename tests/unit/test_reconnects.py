"""A member that is connected again and again leaves nothing behind: neither its loops nor its lists."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest

from tests.unit.memory_cluster import MemoryCluster
from tests.unit.supervised import World, kubeconfig
from vk_provider import caches as module
from vk_provider.caches import Caches
from vk_provider.kube.informer import Informer
from vk_provider.kube.resources import NODES, PODS
from vk_provider.member import Member

pytestmark = pytest.mark.looptime


@pytest.fixture
def unfrozen() -> Iterator[None]:
    """The collector as it was before."""
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("unfrozen")
async def test_ten_connections_leave_one_member_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    other = MemoryCluster("again", "west-uid")
    clusters = {cluster.server: cluster for cluster in (world.member, other)}
    for cluster in clusters.values():
        cluster.put(NODES, "worker", spec={}, status={"conditions": [{"type": "Ready", "status": "True"}]})
        for number in range(20):
            cluster.put(PODS, f"other-{number}", "shop", spec={"containers": []}, status={})
    monkeypatch.setattr(
        "vk_provider.sync.membership.connection.Client",
        lambda credentials: clusters[credentials.server].client(credentials),
    )
    members: list[weakref.ref[Any]] = []
    lists: list[weakref.ref[Any]] = []
    watched: list[weakref.ref[Any]] = []

    def member(*parts: Any) -> Member:
        made = Member(*parts)
        members.append(weakref.ref(made))
        return made

    class Watched(Informer[Any]):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            watched.append(weakref.ref(self))

    def caches(*arguments: Any) -> Caches:
        made = Caches.of(*arguments)
        lists.append(weakref.ref(made))
        return made

    class Recorded:
        of = staticmethod(caches)

    monkeypatch.setattr("vk_provider.supervisor.Member", member)
    monkeypatch.setattr("vk_provider.member.Caches", Recorded)
    monkeypatch.setattr(module, "Informer", Watched)
    async with world.supervised():
        for round in range(10):
            await asyncio.sleep(30.0)
            assert len(lists) == round + 1, "connected and listed"
            assert world.cluster()["reason"] == "Serving"
            world.set_kubeconfig(kubeconfig([world.member, other][(round + 1) % 2].server))
        await asyncio.sleep(30.0)
        gc.collect()
        assert alive(members) == 1
        assert alive(lists) <= 1
        assert alive(watched) == 4, "others, pods of earlier nodes, nodes and Leases of the member"
    assert (len(members), len(lists)) == (11, 11)


def alive(references: list[weakref.ref[Any]]) -> int:
    return sum(reference() is not None for reference in references)
