"""NetworkPolicies of the parent that are not kept in a member, or only in part: reported, once for each policy."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.dependents_world import bound, world
from tests.unit.policies_world import (
    FROM_TEAM_A,
    IGNORE,
    NOT_ENFORCED,
    TEAM,
    deny,
    labels_in,
    servers,
    set_network,
    spec_in,
)
from vk_provider.api import wellknown
from vk_provider.api.membercluster import NetworkPolicies
from vk_provider.kube.resources import NETWORK_POLICIES, PODS
from vk_provider.translate.state.rights import Right, Rights

pytestmark = pytest.mark.looptime


async def test_a_policy_that_admits_less_in_the_member_gets_one_event() -> None:
    parent, member = servers()
    parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=FROM_TEAM_A)
    bound(parent, "web")
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        bound(parent, "web-2")
        parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=FROM_TEAM_A, metadata={"labels": {"a": "b"}})
        await asyncio.sleep(5)
        assert running.events == [
            (
                wellknown.POLICY_NARROWED,
                "on virtual node alpha the policy does not admit: pods outside of the member",
            )
        ]


async def test_ignored_policies_are_deleted_and_reported_and_come_back() -> None:
    parent, member = servers(team="a")
    parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=FROM_TEAM_A)
    bound(parent, "web")
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        set_network(running, policies=NetworkPolicies.IGNORE)
        await asyncio.sleep(5)
        assert not member.names(NETWORK_POLICIES)
        assert labels_in(member) == {}
        assert wellknown.POLICY_NOT_ENFORCED in running.reasons()
        set_network(running, policies=NetworkPolicies.REFLECT)
        await asyncio.sleep(5)
        assert spec_in(member)
        assert labels_in(member) == {TEAM: "a"}


async def test_a_policy_that_selects_a_new_pod_and_is_ignored_gets_an_event_that_names_node_and_cause() -> None:
    parent, member = servers()
    deny(parent)
    async with world(parent, member, spec=IGNORE) as running:
        await asyncio.sleep(5)
        assert running.events == []
        bound(parent, "web")
        await asyncio.sleep(5)
        assert running.reasons() == NOT_ENFORCED
        assert "virtual node alpha" in running.events[0][1]
        assert "spec.network.policies" in running.events[0][1]
        assert not member.names(NETWORK_POLICIES)


@pytest.mark.parametrize(
    "right", [Right("networking.k8s.io", "networkpolicies", "create"), Right("", "namespaces", "patch")], ids=str
)
async def test_without_a_permission_pods_run_and_a_policy_that_selects_them_gets_an_event(right: Right) -> None:
    parent, member = servers(team="a")
    bound(parent, "web")
    async with world(parent, member, rights=Rights((right,))) as running:
        await asyncio.sleep(5)
        parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=FROM_TEAM_A)
        await asyncio.sleep(5)
        assert running.reasons() == NOT_ENFORCED
        assert "Permissions" in running.events[0][1]
        assert member.names(PODS) == {"web"}
        assert member.requests["list", "networkpolicies"] + member.requests["watch", "networkpolicies"] == 0
        assert labels_in(member) == {}


@pytest.mark.parametrize(
    ("namespace", "selector"), [("other", {}), ("shop", {"matchLabels": {"app": "db"}})], ids=["namespace", "labels"]
)
async def test_an_ignored_policy_that_selects_no_pod_of_the_node_gets_no_event(
    namespace: str, selector: dict[str, object]
) -> None:
    parent, member = servers()
    parent.put(NETWORK_POLICIES, "deny", namespace, spec={"podSelector": selector})
    bound(parent, "web", metadata={"labels": {"app": "web"}})
    async with world(parent, member, spec=IGNORE) as running:
        await asyncio.sleep(5)
        assert running.events == []


async def test_a_policy_that_was_deleted_is_not_reported_any_more() -> None:
    parent, member = servers()
    deny(parent)
    async with world(parent, member, spec=IGNORE) as running:
        await asyncio.sleep(5)
        parent.remove(NETWORK_POLICIES, "deny-all", "shop")
        await asyncio.sleep(5)
        bound(parent, "web")
        await asyncio.sleep(5)
        assert running.events == []
