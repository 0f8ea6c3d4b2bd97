"""NetworkPolicies of the parent in a member: written before the first pod, followed, and deleted after the last one."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.dependents_world import NAMES, bound, world
from tests.unit.policies_world import (
    DENY_ALL,
    FROM_TEAM_A,
    OURS,
    TEAM,
    deny,
    labels_in,
    servers,
    spec_in,
)
from vk_provider.api import wellknown
from vk_provider.errors import ForbiddenError
from vk_provider.kube.resources import NAMESPACES, NETWORK_POLICIES, PODS
from vk_provider.translate.names import Names

pytestmark = pytest.mark.looptime


async def test_the_policies_of_a_namespace_are_in_the_member_before_its_first_pod() -> None:
    parent, member = servers()
    order: list[str] = []
    member.refuse = lambda verb, type, _name: order.append(type) if verb == "post" else None
    for name in ("one", "two"):
        parent.put(NETWORK_POLICIES, name, "shop", spec=DENY_ALL)
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        assert member.names(NETWORK_POLICIES) == set(), "no pod of the namespace is there"
        bound(parent, "web")
        await asyncio.sleep(5)
        assert order == ["namespaces", "networkpolicies", "networkpolicies", "pods"]
        assert running.events == []


async def test_a_pod_waits_for_a_policy_that_the_member_does_not_accept_and_for_no_other_namespace() -> None:
    parent, member = servers()
    parent.put(NAMESPACES, "other")
    deny(parent)
    refusal = ForbiddenError(403, "Forbidden", "denied by the member's webhook")
    member.refuse = lambda verb, type, _name: refusal if (verb, type) == ("post", "networkpolicies") else None
    async with world(parent, member) as running:
        bound(parent, "web")
        bound(parent, "web", "other")
        await asyncio.sleep(60)
        assert member.find(PODS, "web", "other")
        assert not member.find(PODS, "web", "shop")
        assert (wellknown.MEMBER_REFUSED, "denied by the member's webhook") in running.events
        member.refuse = lambda *_: None
        await asyncio.sleep(60)
        assert member.find(PODS, "web", "shop")


async def test_a_pod_waits_until_the_policies_of_the_parent_are_known() -> None:
    parent, member = servers()
    deny(parent)
    async with world(parent, member) as running:
        running.policies.synced.clear()
        bound(parent, "web")
        await asyncio.sleep(60)
        assert not member.names(PODS)
        assert wellknown.POLICIES_NOT_KNOWN in running.reasons()
        running.policies.synced.set()
        await asyncio.sleep(60)
        assert member.names(PODS)


async def test_a_pod_waits_for_a_policy_that_came_after_the_first_pod() -> None:
    parent, member = servers()
    async with world(parent, member):
        bound(parent, "web-1")
        await asyncio.sleep(30)
        refusal = ForbiddenError(403, "Forbidden", "not now")
        member.refuse = lambda verb, type, _name: refusal if (verb, type) == ("post", "networkpolicies") else None
        deny(parent)
        await asyncio.sleep(1)
        bound(parent, "web-2")
        await asyncio.sleep(30)
        assert member.names(PODS) == {"web-1"}


async def test_a_policy_in_the_member_follows_its_original_and_edits_there_are_reverted() -> None:
    parent, member = servers()
    deny(parent)
    bound(parent, "web")
    async with world(parent, member):
        await asyncio.sleep(5)
        deny(parent, policyTypes=["Ingress"])
        await asyncio.sleep(5)
        assert spec_in(member)["policyTypes"] == ["Ingress"]
        found = member.find(NETWORK_POLICIES, OURS, "shop")
        assert found
        member.put(NETWORK_POLICIES, OURS, "shop", **{**found, "spec": {"podSelector": {}, "ingress": [{}]}})
        await asyncio.sleep(5)
        assert spec_in(member)["policyTypes"] == ["Ingress"]
        member.remove(NETWORK_POLICIES, OURS, "shop")
        await asyncio.sleep(5)
        assert spec_in(member)["policyTypes"] == ["Ingress"]
        parent.remove(NETWORK_POLICIES, "deny-all", "shop")
        await asyncio.sleep(5)
        assert not member.names(NETWORK_POLICIES)


async def test_policies_of_the_member_itself_are_not_touched() -> None:
    parent, member = servers()
    member.put(NAMESPACES, "shop")
    member.put(NETWORK_POLICIES, "deny-all", "shop", spec={"podSelector": {}})
    deny(parent)
    bound(parent, "web")
    async with world(parent, member):
        await asyncio.sleep(5)
        assert member.names(NETWORK_POLICIES) == {"deny-all", OURS}
        parent.remove(NETWORK_POLICIES, "deny-all", "shop")
        await asyncio.sleep(5)
        assert member.names(NETWORK_POLICIES) == {"deny-all"}


async def test_policies_are_deleted_after_the_last_pod_and_come_before_the_next_one() -> None:
    parent, member = servers()
    deny(parent)
    bound(parent, "web")
    async with world(parent, member) as running:
        await asyncio.sleep(5)
        parent.remove(PODS, "web", "shop")
        await asyncio.sleep(10)
        assert not member.names(PODS)
        assert member.names(NETWORK_POLICIES) == {OURS}, "the next pod may be near"
        await asyncio.sleep(60)
        assert not member.names(NETWORK_POLICIES)
        order: list[str] = []
        member.refuse = lambda verb, type, _name: order.append(type) if verb == "post" else None
        bound(parent, "web", metadata={"uid": "p-web-2"})
        await asyncio.sleep(10)
        assert order == ["networkpolicies", "pods"]
        assert running.events == []


async def test_a_new_process_keeps_the_policies_of_running_pods_and_deletes_those_of_no_pod() -> None:
    parent, member = servers()
    parent.put(NAMESPACES, "other")
    for namespace in ("shop", "other"):
        deny(parent, namespace)
        bound(parent, "web", namespace)
    async with world(parent, member):
        await asyncio.sleep(5)
    parent.remove(PODS, "web", "other")
    member.remove(PODS, "web", "other")
    before = member.find(NETWORK_POLICIES, OURS, "shop")
    async with world(parent, member):
        await asyncio.sleep(30)
        assert member.find(NETWORK_POLICIES, OURS, "shop") == before
        assert not member.find(NETWORK_POLICIES, OURS, "other")


async def test_only_the_keys_that_policies_in_use_select_are_put_on_our_namespaces_and_they_follow_the_parent() -> None:
    parent, member = servers(team="a", secret="x")
    member.put(NAMESPACES, "before-us", metadata={"labels": {"team": "theirs"}})
    parent.put(NAMESPACES, "before-us", metadata={"labels": {"team": "a"}})
    parent.put(NAMESPACES, "unused")
    select_stage = {"matchLabels": {"stage": "x"}}
    unused = {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": select_stage}]}]}
    parent.put(NETWORK_POLICIES, "unused", "unused", spec=unused)
    parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=FROM_TEAM_A)
    for namespace in ("shop", "before-us"):
        bound(parent, "web", namespace)
    async with world(parent, member):
        await asyncio.sleep(5)
        assert labels_in(member) == {TEAM: "a"}
        assert labels_in(member, "before-us") == {}, "it is not ours"
        parent.put(NAMESPACES, "shop", metadata={"labels": {"secret": "x"}})
        await asyncio.sleep(5)
        assert labels_in(member) == {TEAM: wellknown.NO_LABEL}
        parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=DENY_ALL)
        await asyncio.sleep(5)
        assert labels_in(member) == {}


async def test_policies_are_reflected_under_a_namespace_prefix() -> None:
    parent, member = servers(team="a")
    parent.put(NETWORK_POLICIES, "deny-all", "shop", spec=FROM_TEAM_A)
    bound(parent, "web")
    async with world(parent, member, names=Names("alpha", NAMES.parent, "p-")):
        await asyncio.sleep(5)
        assert spec_in(member, "p-shop")["ingress"]
        assert labels_in(member, "p-shop") == {TEAM: "a"}
        parent.remove(PODS, "web", "shop")
        await asyncio.sleep(60)
        assert not member.names(NETWORK_POLICIES)


async def test_a_namespace_that_was_deleted_in_the_member_gets_its_policies_before_the_next_pod() -> None:
    parent, member = servers()
    deny(parent)
    bound(parent, "web")
    async with world(parent, member):
        await asyncio.sleep(5)
        for resource, name, namespace in (
            (NETWORK_POLICIES, OURS, "shop"),
            (PODS, "web", "shop"),
            (NAMESPACES, "shop", ""),
        ):
            member.remove(resource, name, namespace)
        order: list[str] = []
        member.refuse = lambda verb, type, _name: order.append(type) if verb == "post" else None
        await asyncio.sleep(60)
        assert order.index("networkpolicies") < order.index("pods")
