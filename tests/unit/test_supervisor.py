"""A member from the start of a provider: its Lease and its health before and without a connection. Virtual time."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.memory_cluster import Json
from tests.unit.supervised import SYSTEM, World, kubeconfig
from vk_provider.api import wellknown
from vk_provider.errors import UnreachableError, api_error
from vk_provider.kube.resources import NODES, PODS, SECRETS

pytestmark = pytest.mark.looptime


async def test_a_member_that_is_silent_when_the_provider_starts_is_lost_after_20_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(15.0)
        assert world.node()["status"] == "True"
        assert world.taints == [wellknown.SUSPECT_TAINT]
        assert world.cluster("Reachable")["reason"] == "Suspect"
        await asyncio.sleep(10.0)
        assert (world.node()["status"], world.node()["reason"]) == ("False", "MemberUnreachable")
        assert world.cluster("Reachable")["reason"] == "Lost"
        assert world.cluster()["status"] == "False"


async def test_the_pods_of_a_member_that_is_lost_at_a_start_are_held_before_its_node_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.member.silent = True
    held: list[str] = []
    store = world.parent.store

    def watched(path: str, item: Json) -> Json:
        if wellknown.HELD in item["metadata"].get("annotations", {}):
            held.append(world.node()["status"])
        return store(path, item)

    world.parent.put(
        PODS,
        "web",
        "shop",
        metadata={"annotations": {wellknown.ON_LOST: "Hold"}},
        spec={"nodeName": "west", "containers": [], "nodeSelector": {wellknown.CLUSTER_LABEL: "west"}},
        status={"phase": "Running"},
    )
    monkeypatch.setattr(world.parent, "store", watched)
    async with world.supervised():
        await asyncio.sleep(40.0)
    assert held == ["True"]
    assert world.node()["status"] == "False"


async def test_the_lease_is_renewed_while_the_member_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.may_serve.clear()
    async with world.supervised():
        await asyncio.sleep(1.0)
        assert world.renewals == 1, "at once"
        await asyncio.sleep(300.0)
        assert world.renewals >= 30
        assert world.node()["status"] == "True"
        assert world.taints == []
        world.may_serve.set()
        await asyncio.sleep(5.0)
        renewed = world.renewals
        await asyncio.sleep(60.0)
        assert world.serving
        assert world.renewals == renewed, "the loops of the served member do it from here on"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (api_error(401, "Unauthorized", "Unauthorized"), "Unauthorized"),
        (api_error(403, "Forbidden", "no"), "Forbidden"),
        (UnreachableError("its certificate", reason="CertificateExpired"), "CertificateExpired"),
    ],
)
async def test_a_member_that_refuses_at_a_start_keeps_its_node(
    monkeypatch: pytest.MonkeyPatch, error: Any, reason: str
) -> None:
    world = World(monkeypatch)
    world.member.refusal = error
    async with world.supervised():
        await asyncio.sleep(900.0)
        assert world.renewals >= 85
        assert world.node()["status"] == "True"
        assert world.node(wellknown.MEMBER_REACHABLE)["reason"] == "Refused"
        assert world.taints == [wellknown.SUSPECT_TAINT]
        assert (world.cluster()["status"], world.cluster()["reason"]) == ("False", reason)
        assert world.cluster("Reachable")["reason"] == "Refused"
        world.member.refusal = None
        await asyncio.sleep(30.0)
        assert world.serving


async def test_a_missing_right_that_is_essential_keeps_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.member.denied = {("pods", "create")}
    async with world.supervised():
        await asyncio.sleep(600.0)
        assert world.renewals >= 55
        assert world.node()["status"] == "True"
        assert (world.cluster()["status"], world.cluster()["reason"]) == ("False", "Forbidden")


@pytest.mark.parametrize("content", ["", "bm90IGEga3ViZWNvbmZpZw==", "%"])
async def test_a_member_without_a_usable_kubeconfig_at_a_start_keeps_its_node(
    monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    world = World(monkeypatch)
    if content:
        world.set_kubeconfig(content)
    else:
        world.parent.remove(SECRETS, "west", SYSTEM)
    async with world.supervised():
        await asyncio.sleep(600.0)
        assert world.renewals >= 55
        assert world.node()["status"] == "True"
        assert world.taints == [wellknown.SUSPECT_TAINT]
        assert world.cluster()["reason"] == ("KubeconfigInvalid" if content else "SecretNotFound")
        assert world.cluster("Reachable")["reason"] == "Refused"
        world.set_kubeconfig(kubeconfig(world.member.server))
        await asyncio.sleep(1.0)
        assert world.serving, "a kubeconfig is used as soon as it is there"


async def test_a_node_that_is_deleted_while_its_member_is_lost_is_back_within_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A cloud controller deletes Nodes that are not Ready; then pods that may still run are removed by force."""
    world = World(monkeypatch)
    world.parent.find(NODES, "west")["spec"]["unschedulable"] = True
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(30.0)
        for _ in range(5):
            world.parent.remove(NODES, "west")
            await asyncio.sleep(2.0)
            found = world.parent.find(NODES, "west")
            assert found["metadata"]["labels"] == {wellknown.CLUSTER_LABEL: "west"}
            assert found["spec"]["unschedulable"] is True
            assert world.taints == [wellknown.SUSPECT_TAINT]
            assert (world.node()["status"], world.node()["reason"]) == ("False", "MemberUnreachable")


async def test_a_node_that_is_not_of_this_member_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.parent.put(NODES, "west", metadata={"labels": {}}, spec={}, status={})
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(60.0)
    assert world.renewals == 0
    assert world.taints == []
    assert world.node() == {}


async def test_a_member_that_answers_again_before_it_is_lost_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(12.0)
        world.member.silent = False
        await asyncio.sleep(30.0)
        assert world.serving
        assert world.node()["status"] == "True"


async def test_members_that_are_silent_together_at_a_start_are_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.freeze.members(["west", "east"])
    world.freeze.silent("east", world.start)
    world.member.silent = True
    async with world.supervised():
        await asyncio.sleep(600.0)
        assert world.node()["status"] == "True"
        assert world.cluster("Reachable")["reason"] == "Frozen"
        assert world.renewals >= 55
