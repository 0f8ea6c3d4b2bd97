"""The Lease of a virtual node exists soon after its Node: without it, commands say that no provider serves the node."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.api_server import ApiServer
from vk_provider.kube.resources import LEASES
from vk_provider.sync.nodes.lease import LeaseLoop
from vk_provider.translate.state.freeze import Freeze

pytestmark = pytest.mark.looptime


class Node:
    """The Node of the Lease. It has no UID until it exists."""

    uid = ""

    def changed(self) -> None: ...

    def warn(self, reason: str, message: str) -> None: ...


@pytest.mark.parametrize("created_after", [0.1, 0.5, 2.0])
async def test_the_lease_follows_its_node_at_once(created_after: float) -> None:
    parent, node = ApiServer(), Node()
    task = asyncio.create_task(LeaseLoop("west", parent, Freeze(), node).run())
    await asyncio.sleep(created_after)
    node.uid = "uid-west"
    await asyncio.sleep(created_after + 0.2)  # it looks again after pauses that double
    lease = parent.find(LEASES, "west", "kube-node-lease")
    task.cancel()
    await asyncio.wait([task])
    assert lease is not None
    assert lease["metadata"]["ownerReferences"][0]["uid"] == "uid-west"


async def test_a_node_that_never_comes_costs_a_request_every_ten_seconds() -> None:
    parent = ApiServer()
    task = asyncio.create_task(LeaseLoop("west", parent, Freeze(), Node()).run())
    await asyncio.sleep(600)
    task.cancel()
    await asyncio.wait([task])
    assert len(parent.requests) < 600 / 10 + 10


async def test_the_lease_of_a_node_is_renewed_every_ten_seconds() -> None:
    parent, node = ApiServer(), Node()
    node.uid = "uid-west"
    task = asyncio.create_task(LeaseLoop("west", parent, Freeze(), node).run())
    await asyncio.sleep(65)
    task.cancel()
    await asyncio.wait([task])
    assert len(parent.asked("PATCH", LEASES)) == 7
