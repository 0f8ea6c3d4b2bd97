"""What delays the Ready condition of a returning member, and what does not although it is out of sync."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api_server import ApiServer
from tests.unit.pods import NAMES, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.returning import ReturnCheck

RUNNING, ENDED = {"phase": "Running"}, {"phase": "Failed"}


class Cache:
    """A list of pods."""

    def __init__(self, pods: list[Pod]) -> None:
        self.items = {each.metadata.key: each for each in pods}


class World:
    """One pod that runs in the parent, and its member pod."""

    def __init__(self, status: dict[str, Any], *, orphan: bool = False, **metadata: Any) -> None:
        annotations = {
            wellknown.PARENT_UID: "p-1",
            wellknown.PARENT_NAMESPACE: "shop",
            wellknown.PARENT_NAME: "web-1",
        }
        member = pod(None, status, uid="m-1", labels=NAMES.labels, annotations=annotations, **metadata)
        parents = [] if orphan else [pod(None, RUNNING, resourceVersion="9")]
        caches: Any = (Cache(parents), Cache([member]))
        self.looks_again = False
        self.held: set[str] = set()
        self.failed: dict[str, int] = {}
        self.reports: list[str] = []
        self.check = ReturnCheck(
            ApiServer(),
            ApiServer(),
            PodCaches(NAMES, *caches),
            self,
            lambda key: self.failed.get(key, 0),
            self.reports.append,
        )

    def is_held(self, member_uid: str) -> bool:
        return member_uid in self.held


def test_a_pod_that_hangs_in_its_deletion_does_not_keep_the_node_away_and_is_reported_once() -> None:
    world = World(ENDED, deletionTimestamp="2026-03-01T10:00:00Z", finalizers=["example.com/other"])
    assert [world.check.out_of_sync() for _ in range(3)] == ["", "", ""]
    (report,) = world.reports
    assert "pod shop/web-1 has ended and hangs in its deletion" in report


def test_a_status_that_is_not_written_yet_is_waited_for() -> None:
    world = World(ENDED)
    assert world.check.out_of_sync() == "pod shop/web-1 has ended"
    assert world.reports == []


@pytest.mark.parametrize("world", [World(ENDED), World(RUNNING, orphan=True)], ids=["a status", "a deletion"])
def test_what_a_server_refuses_again_and_again_is_no_longer_waited_for(world: World) -> None:
    world.failed["shop/web-1"] = 7
    assert world.check.out_of_sync()
    world.failed["shop/web-1"] = 8
    assert world.check.out_of_sync() == ""
    assert len(world.reports) == 1


def test_orphans_that_wait_for_an_administrator_do_not_keep_the_node_away() -> None:
    world = World(RUNNING, orphan=True)
    world.held.add("m-1")
    assert world.check.out_of_sync() == ""
    assert world.reports == [], "their condition says so already"


def test_a_second_look_at_many_orphans_is_waited_for() -> None:
    world = World(RUNNING)
    world.looks_again = True
    assert world.check.out_of_sync() == "too many of its pods are orphans"


async def test_the_next_return_reports_what_hangs_again() -> None:
    world = World(ENDED, deletionTimestamp="2026-03-01T10:00:00Z", resourceVersion="9")
    world.check.out_of_sync()
    await world.check.outdated()
    world.check.out_of_sync()
    assert len(world.reports) == 2
