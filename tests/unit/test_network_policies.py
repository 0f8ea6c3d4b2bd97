"""NetworkPolicies that select pods of a virtual node: an Event on the policy, because no member enforces them."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.dependents_world import bound, world
from tests.unit.objects_server import ObjectServer
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES, NETWORK_POLICIES

pytestmark = pytest.mark.looptime

DENY_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
REPORT = {wellknown.POLICY_NOT_ENFORCED}


def servers() -> tuple[ObjectServer, ObjectServer]:
    parent, member = ObjectServer(), ObjectServer()
    parent.put(NAMESPACES, "shop")
    member.put(NAMESPACES, "shop")
    return parent, member


async def test_a_policy_that_selects_a_new_pod_gets_an_event_that_names_the_node() -> None:
    parent, member = servers()
    parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=DENY_ALL)
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        assert running.events == []
        bound(parent, "web")
        await asyncio.sleep(5)
        assert running.reasons() == REPORT
        assert "virtual node alpha" in running.events[0][1]


async def test_a_new_policy_that_selects_a_running_pod_gets_an_event() -> None:
    parent, member = servers()
    bound(parent, "web")
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=DENY_ALL)
        await asyncio.sleep(5)
        assert running.reasons() == REPORT


@pytest.mark.parametrize(
    ("namespace", "selector"), [("other", {}), ("shop", {"matchLabels": {"app": "db"}})], ids=["namespace", "labels"]
)
async def test_a_policy_that_selects_no_pod_of_the_node_gets_none(namespace: str, selector: dict[str, object]) -> None:
    parent, member = servers()
    parent.put(NETWORK_POLICIES, "deny", namespace, spec={"podSelector": selector})
    bound(parent, "web", metadata={"labels": {"app": "web"}})
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        assert running.events == []


async def test_a_policy_that_was_deleted_is_not_reported_any_more() -> None:
    parent, member = servers()
    parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=DENY_ALL)
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        parent.remove(NETWORK_POLICIES, "deny-all", "shop")
        await asyncio.sleep(5)
        bound(parent, "web")
        await asyncio.sleep(5)
        assert running.events == []
