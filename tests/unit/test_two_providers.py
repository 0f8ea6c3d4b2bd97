"""Two provider processes that serve the same virtual node notice each other by its Lease."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from tests.unit.api_server import ApiServer
from vk_provider.api import wellknown
from vk_provider.kube.resources import LEASES, NODES
from vk_provider.sync.nodes.lease import LeaseLoop
from vk_provider.translate.state.freeze import Freeze

pytestmark = pytest.mark.looptime


class Node:
    """The Node of the Lease, and what is reported about it."""

    uid = "uid-west"

    def __init__(self) -> None:
        self.warnings: list[tuple[str, str]] = []

    def changed(self) -> None: ...

    def warn(self, reason: str, message: str) -> None:
        self.warnings.append((reason, message))


@asynccontextmanager
async def provider(parent: ApiServer, process: str) -> AsyncIterator[Node]:
    node = Node()
    task = asyncio.create_task(LeaseLoop("west", parent, Freeze(), node, process).run())
    await asyncio.sleep(3)
    yield node
    task.cancel()
    await asyncio.wait([task])


@pytest.fixture
def parent() -> ApiServer:
    server = ApiServer()
    server.put(NODES, "west")
    server.put(LEASES, "west", "kube-node-lease")
    return server


async def test_both_report_the_other_once(parent: ApiServer) -> None:
    async with provider(parent, "a/1") as first, provider(parent, "b/2") as second:
        await asyncio.sleep(120)
    assert [reason for reason, _ in first.warnings + second.warnings] == [wellknown.TWO_PROVIDERS] * 2
    assert "another provider process, b/2," in first.warnings[0][1]
    assert "another provider process, a/1," in second.warnings[0][1]


async def test_a_provider_that_takes_over_from_one_that_stops_reports_nothing(parent: ApiServer) -> None:
    async with AsyncExitStack() as later:
        async with provider(parent, "a/1") as first:
            second = await later.enter_async_context(provider(parent, "b/2"))
            await asyncio.sleep(5)  # how long sessions may take to end
        await asyncio.sleep(120)
    assert first.warnings + second.warnings == []


async def test_another_client_that_touches_the_lease_is_no_provider(parent: ApiServer) -> None:
    async with provider(parent, "a/1") as node:
        for number in range(6):
            parent.put(LEASES, "west", "kube-node-lease", metadata={"labels": {"number": str(number)}})
            await asyncio.sleep(10)
    assert node.warnings == []
