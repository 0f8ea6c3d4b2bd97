"""Budgets of the parent in a member: written for the pods there, followed, and removed with them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.dependents_world import NAMES, bound, world
from tests.unit.objects_server import ObjectServer
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES, POD_DISRUPTION_BUDGETS, PODS

pytestmark = pytest.mark.looptime

APP = {"labels": {"app": "web"}}
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def servers(*pods: str) -> tuple[ObjectServer, ObjectServer]:
    parent, member = ObjectServer(), ObjectServer()
    parent.put(NAMESPACES, "shop")
    member.put(NAMESPACES, "shop")
    for name in pods:
        bound(parent, name, metadata=APP)
    return parent, member


def allow(parent: ObjectServer, disruptions: int, healthy: int = 2) -> None:
    status = {"disruptionsAllowed": disruptions, "currentHealthy": healthy, "desiredHealthy": 1}
    spec = {"minAvailable": "50%", "selector": {"matchLabels": {"app": "web"}}}
    parent.put(POD_DISRUPTION_BUDGETS, "web", "shop", spec=spec, status=status)


def minimum(member: ObjectServer) -> Any:
    found = member.find(POD_DISRUPTION_BUDGETS, "web", "shop")
    return found["spec"]["minAvailable"] if found else None


def running(member: ObjectServer, name: str, **metadata: Any) -> None:
    found = member.find(PODS, name, "shop")
    assert found is not None
    member.put(PODS, name, "shop", metadata=found["metadata"] | metadata, spec=found["spec"], status=READY)


async def test_the_living_pods_less_what_the_parent_allows_must_stay() -> None:
    parent, member = servers("web-0", "web-1")
    allow(parent, 1)
    async with world(parent, member):
        await asyncio.sleep(3)
        assert minimum(member) == 1
        allow(parent, 0, 1)
        await asyncio.sleep(3)
        assert minimum(member) == 2


async def test_an_eviction_that_the_parent_has_not_seen_uses_the_part() -> None:
    parent, member = servers("web-0", "web-1")
    allow(parent, 1)
    async with world(parent, member):
        await asyncio.sleep(3)
        for name in ("web-0", "web-1"):
            running(member, name)
        await asyncio.sleep(3)
        running(member, "web-0", deletionTimestamp="2026-03-01T10:00:00Z", deletionGracePeriodSeconds=30)
        await asyncio.sleep(60)
        assert minimum(member) == 1, "one living pod, and nothing left of what the parent allowed"


async def test_a_budget_goes_with_its_original() -> None:
    parent, member = servers("web-0")
    allow(parent, 0)
    async with world(parent, member):
        await asyncio.sleep(3)
        assert minimum(member) == 1
        parent.remove(POD_DISRUPTION_BUDGETS, "web", "shop")
        await asyncio.sleep(3)
        assert minimum(member) is None


async def test_a_budget_goes_with_the_last_pod() -> None:
    parent, member = servers("web-0")
    allow(parent, 0)
    async with world(parent, member):
        await asyncio.sleep(3)
        parent.remove(PODS, "web-0", "shop")
        await asyncio.sleep(120)
        assert member.names(PODS, "shop") == set()
        assert minimum(member) is None


async def test_a_budget_without_pods_on_the_node_is_not_made() -> None:
    parent, member = servers("db")
    parent.put(PODS, "db", "shop", metadata={"labels": {"app": "db"}, "uid": "p-db"}, spec={"nodeName": "alpha"})
    allow(parent, 1)
    async with world(parent, member):
        await asyncio.sleep(3)
        assert minimum(member) is None


async def test_a_budget_of_the_members_own_is_not_touched() -> None:
    parent, member = servers("web-0")
    allow(parent, 0)
    member.put(POD_DISRUPTION_BUDGETS, "web", "shop", spec={"minAvailable": 7})
    async with world(parent, member) as there:
        await asyncio.sleep(3)
        assert minimum(member) == 7
        assert wellknown.NAME_CONFLICT in there.reasons()


async def test_an_edit_in_the_member_is_undone() -> None:
    parent, member = servers("web-0")
    allow(parent, 0)
    async with world(parent, member):
        await asyncio.sleep(3)
        made = member.find(POD_DISRUPTION_BUDGETS, "web", "shop")
        assert made is not None
        assert NAMES.owns(made["metadata"]["labels"])
        edited = made["spec"] | {"minAvailable": 0}
        member.put(POD_DISRUPTION_BUDGETS, "web", "shop", metadata=made["metadata"], spec=edited)
        await asyncio.sleep(3)
        assert minimum(member) == 1
