"""The conditions of a MemberCluster that is served, from its health and its nodes, and its version."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.virtual_nodes import cluster
from vk_provider.api import wellknown
from vk_provider.errors import UnreachableError, VkError
from vk_provider.kube.client import Client
from vk_provider.observable import Observable
from vk_provider.sync.membership import connection as module
from vk_provider.sync.membership.conditions import ConditionLoop
from vk_provider.sync.membership.connection import Connection
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.nodes.readiness import NodesReady
from vk_provider.translate.state.health import Assessment, State

pytestmark = pytest.mark.looptime

DOWN = NodesReady(False, wellknown.MEMBER_NODES_NOT_READY, "none of its nodes is Ready")


class Node:
    """A virtual node that has been written."""

    def __init__(self) -> None:
        self.written = asyncio.Event()
        self.written.set()
        self.nodes_ready = Observable(NodesReady())
        self.problem = Observable("")


class Report:
    """The status of the MemberCluster."""

    def __init__(self) -> None:
        self.conditions: dict[str, tuple[str, str, str]] = {}
        self.versions: list[str] = []

    def has(self, type: str) -> bool:
        return type in self.conditions

    async def set_condition(self, type: str, status: str, reason: str, message: str) -> None:
        self.conditions[type] = status, reason, message

    async def set_ready(self, ready: bool, reason: str, message: str) -> None:
        await self.set_condition(wellknown.READY, str(ready), reason, message)

    async def set_version(self, version: str) -> None:
        self.versions.append(version)


class World:
    def __init__(self) -> None:
        self.node, self.report, self.version = Node(), Report(), Observable("v1.36.5")
        self.cluster = Observable(cluster())
        self.state = MemberState(State.HEALTHY, self.cluster)
        report: Any = self.report
        self.loop = ConditionLoop(self.cluster, self.state, [self.node], report, self.version)
        self.task = asyncio.create_task(self.loop.run())

    async def after(self) -> dict[str, tuple[str, str, str]]:
        await asyncio.sleep(1)
        return self.report.conditions


async def test_a_member_that_answers_and_has_no_ready_node_is_not_ready() -> None:
    world = World()
    assert (await world.after())[wellknown.READY][:2] == ("True", "Serving")
    world.node.nodes_ready.set(DOWN)
    assert (await world.after())[wellknown.READY][:2] == ("False", wellknown.MEMBER_NODES_NOT_READY)
    assert world.report.conditions[wellknown.REACHABLE][:2] == ("True", "Healthy")
    world.node.nodes_ready.set(NodesReady())
    assert (await world.after())[wellknown.READY][:2] == ("True", "Serving")
    world.task.cancel()


async def test_a_lost_member_has_the_reason_of_the_loss_whatever_its_nodes_were() -> None:
    world = World()
    world.node.nodes_ready.set(DOWN)
    world.state.assess(Assessment(State.LOST, UnreachableError("no answer")))
    assert (await world.after())[wellknown.READY][:2] == ("False", "Unreachable")
    world.task.cancel()


async def test_a_part_of_the_node_that_is_not_written_is_reported_until_it_is() -> None:
    world = World()
    assert wellknown.NODE_CONFIGURED not in await world.after()
    world.node.problem.set("labels not written: no")
    found = (await world.after())[wellknown.NODE_CONFIGURED]
    assert found == ("False", wellknown.PARTS_NOT_WRITTEN, "labels not written: no")
    world.node.problem.set("")
    assert (await world.after())[wellknown.NODE_CONFIGURED][:2] == ("True", wellknown.CONFIGURED)
    assert world.report.conditions[wellknown.READY][0] == "True"
    world.task.cancel()


async def test_another_version_is_written_once() -> None:
    world = World()
    await world.after()
    assert world.report.versions == []
    world.version.set("v1.37.2")
    await world.after()
    world.node.problem.set("x")
    await world.after()
    assert world.report.versions == ["v1.37.2"]
    world.task.cancel()


async def test_the_version_is_read_every_minute_while_the_member_is_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | Exception] = ["v1.36.5", UnreachableError("no answer"), VkError("not an API server"), "v1.37.2"]

    async def read_version(client: Client) -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "read_version", read_version)
    found = Connection(FakeClient(), cluster().spec.kubeconfig_secret_ref, "west", "uid")  # type: ignore[arg-type]
    found._client, found._connected = FakeClient(), True  # type: ignore[assignment]
    found.version.set("v1.36.5")
    changes: list[str] = []
    found.version.subscribe(lambda: changes.append(found.version.value))
    task = asyncio.create_task(found._follow_version())
    await asyncio.sleep(230)
    assert changes == []
    await asyncio.sleep(20)
    assert changes == ["v1.37.2"]
    task.cancel()


class FakeClient:
    """An API server that is not asked."""

    restores = 0
    server = "https://west"
