"""The loop of a virtual node: created complete, restored when others change it, and written only when it differs."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.pods import NAMES, Manifest, pod
from tests.unit.virtual_nodes import NAME, World, node
from vk_provider.api import wellknown
from vk_provider.errors import ConfigError, ForbiddenError, InvalidError, api_error
from vk_provider.kube.resources import NODES
from vk_provider.translate.state.health import State

pytestmark = pytest.mark.looptime


async def test_the_node_is_created_with_its_labels_taints_and_status() -> None:
    world = World({"labels": {"tier": "edge"}, "taints": [{"key": "team", "effect": "NoSchedule"}]})
    async with world.running():
        assert world.writes()[0] == "POST node"
        body = world.parent.writes[0][3]
        assert body["metadata"]["labels"]["tier"] == "edge"
        assert body["spec"]["taints"] == [{"key": "team", "effect": "NoSchedule"}]
        assert {c["type"]: c["status"] for c in body["status"]["conditions"]}["Ready"] == "True"
        assert body["status"]["allocatable"]["cpu"] == "4"
        assert body["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10250}}


async def test_a_new_node_waits_five_seconds_for_the_kubelet_api_and_not_longer() -> None:
    world = World()
    async with world.running(served=False):
        assert world.parent.nodes == {}
        await asyncio.sleep(4)
        assert world.parent.ready() == "True"


async def test_a_node_that_another_client_deleted_is_back_within_two_seconds_complete() -> None:
    world = World({"labels": {"tier": "edge"}, "taints": [{"key": "team", "effect": "NoSchedule"}]})
    async with world.running():
        await asyncio.sleep(20)
        uid = world.loop.uid
        world.parent.delete_node()
        await asyncio.sleep(2)
        found = world.parent.nodes[NAME]
        assert found["metadata"]["uid"] == world.loop.uid != uid
        assert (found["metadata"]["labels"]["tier"], world.cpu, world.parent.ready()) == ("edge", "4", "True")
        assert world.parent.taints() == {("team", "NoSchedule")}


async def test_a_cloud_controller_that_deletes_nodes_that_are_not_ready_finds_no_new_one() -> None:
    """The cloud node lifecycle controller looks every 5 s, and deletes a Node that is not Ready and that it does not
    know by its providerID."""
    world = World()
    deleted = 0

    async def controller() -> None:
        nonlocal deleted
        while True:
            await asyncio.sleep(0.05)
            if NAME in world.parent.nodes and world.parent.ready() != "True":
                deleted += 1
                world.parent.delete_node()

    task = asyncio.create_task(controller())
    async with world.running(served=False):
        await asyncio.sleep(60)
        assert (deleted, world.parent.ready()) == (0, "True")
    task.cancel()


async def test_a_lost_node_that_a_cloud_controller_deletes_comes_back_each_time_within_two_seconds() -> None:
    world = World()
    async with world.running():
        world.health(State.LOST)
        for _ in range(20):
            await asyncio.sleep(5)
            world.parent.delete_node()
            await asyncio.sleep(2)
            assert world.parent.ready() == "False"
            assert (wellknown.SUSPECT_TAINT, "NoSchedule") in world.parent.taints()


async def test_the_provider_id_is_set_at_the_creation_and_on_a_node_that_has_none() -> None:
    world = World({"providerID": "vk://west"})
    async with world.running():
        assert world.parent.writes[0][3]["spec"]["providerID"] == "vk://west"
    world = World()
    async with world.running():
        world.change({"providerID": "vk://west"})
        await asyncio.sleep(2)
        assert world.parent.nodes[NAME]["spec"]["providerID"] == "vk://west"


async def test_a_node_of_another_member_is_not_touched() -> None:
    world = World()
    world.parent.put(NODES, NAME, spec={})
    with pytest.raises(ConfigError, match="does not stand for member"):
        async with world.running():
            pass
    assert world.writes() == []


class TestParts:
    """What cannot be written of a Node costs only itself."""

    @pytest.mark.parametrize(
        "bad",
        [
            {"labels": {"a b": "c"}},
            {"labels": {"a": "b c"}},
            {"taints": [{"key": "a b", "effect": "NoSchedule"}]},
            {"capacity": {"cpu": "1e1.5"}},
            {"capacity": {"memory": "1e1000"}},
            {"capacity": {"a b": "4"}, "capacityPolicy": "Promise"},
            {"capacity": {"pods": "1500m"}},  # counted in whole numbers only
            {"capacity": {"example.com/gpu": "1.5"}, "capacityPolicy": "Promise"},
        ],
    )
    async def test_a_bad_key_or_value_of_the_spec_costs_only_itself(self, bad: Manifest) -> None:
        world = World(bad | {"labels": {"good": "yes"} | bad.get("labels", {})})
        async with world.running():
            assert (world.parent.ready(), world.cpu) == ("True", "4")
            assert world.parent.nodes[NAME]["metadata"]["labels"]["good"] == "yes"
            assert "valid" in world.loop.problem.value or "quantity" in world.loop.problem.value
            world.health(State.LOST)
            await asyncio.sleep(2)
            assert world.parent.ready() == "False"
            assert (wellknown.SUSPECT_TAINT, "NoSchedule") in world.parent.taints()
            world.change({"labels": {"good": "yes"}})
            await asyncio.sleep(2)
            assert world.loop.problem.value == ""

    @pytest.mark.parametrize("error", [ForbiddenError(403, "Forbidden", "no"), InvalidError(422, "Invalid", "no")])
    async def test_labels_that_the_parent_refuses_hide_no_loss(self, error: Exception) -> None:
        world = World({"labels": {"refused": "yes"}, "taints": [{"key": "team", "effect": "NoSchedule"}]})
        world.parent.refuse = lambda method, path, body: (
            error if "refused" in (body.get("metadata", {}).get("labels") or {}) else None
        )
        async with world.running():
            assert world.parent.ready() == "True"
            assert "refused" not in world.parent.nodes[NAME]["metadata"]["labels"]
            assert "labels not written: no" in world.loop.problem.value
            world.health(State.LOST)
            await asyncio.sleep(2)
            assert world.parent.ready() == "False"
            assert world.parent.taints() == {("team", "NoSchedule"), (wellknown.SUSPECT_TAINT, "NoSchedule")}

    async def test_taints_that_the_parent_refuses_hide_no_loss(self) -> None:
        world = World({"taints": [{"key": "refused", "effect": "NoSchedule"}]})
        world.parent.refuse = lambda method, path, body: (
            ForbiddenError(403, "Forbidden", "no")
            if any(taint["key"] == "refused" for taint in body.get("spec", {}).get("taints") or ())
            else None
        )
        async with world.running():
            world.health(State.LOST)
            await asyncio.sleep(2)
            assert world.parent.ready() == "False"
            assert world.parent.taints() == {(wellknown.SUSPECT_TAINT, "NoSchedule")}
            world.health(State.HEALTHY)
            await asyncio.sleep(2)
            assert (world.parent.ready(), world.parent.taints()) == ("True", set())

    @pytest.mark.parametrize("refused", ["allocatable", "nodeInfo"])
    async def test_a_part_of_the_status_that_the_parent_refuses_hides_no_loss(self, refused: str) -> None:
        world = World()
        world.parent.refuse = lambda method, path, body: (
            InvalidError(422, "Invalid", "no") if refused in body.get("status", {}) else None
        )
        async with world.running():
            assert world.parent.ready() == "True"
            assert "not written: no" in world.loop.problem.value
            world.health(State.LOST)
            await asyncio.sleep(2)
            assert world.parent.ready() == "False"

    async def test_a_webhook_that_is_down_hides_no_loss(self) -> None:
        world = World()
        async with world.running():
            down = api_error(500, "InternalError", "failed calling webhook")
            world.parent.refuse = lambda method, path, body: None if path.endswith("/status") else down
            world.change({"labels": {"tier": "edge"}})
            world.health(State.LOST)
            await asyncio.sleep(15)
            assert world.parent.ready() == "False"

    async def test_a_node_that_the_parent_does_not_accept_is_reported(self) -> None:
        world = World()
        world.parent.refuse = lambda method, path, body: ForbiddenError(403, "Forbidden", "no nodes today")
        async with world.running():
            assert world.loop.problem.value == "node not created: no nodes today"
            world.parent.refuse = lambda method, path, body: None
            await asyncio.sleep(15)
            assert (world.parent.ready(), world.loop.problem.value) == ("True", "")

    async def test_a_part_that_is_refused_is_not_tried_all_the_time(self) -> None:
        world = World({"labels": {"refused": "yes"}})
        world.parent.refuse = lambda method, path, body: (
            ForbiddenError(403, "Forbidden", "no")
            if "refused" in (body.get("metadata", {}).get("labels") or {})
            else None
        )
        async with world.running():
            await asyncio.sleep(10)
            since = world.at
            for number in range(60):
                world.other("1", name=f"other-{number}")
                world.others.remove(f"shop/other-{number}")
                await asyncio.sleep(1)
            assert len(world.writes(since)) <= 5


class TestWrites:
    """What would change nothing is not written."""

    async def test_an_idle_node_is_written_once_a_minute(self) -> None:
        world = World()
        async with world.running():
            await asyncio.sleep(8)
            since = world.at
            await asyncio.sleep(300)
            assert world.writes(since) == ["PATCH status"] * 5

    async def test_pods_of_others_that_are_replaced_every_second_cause_no_writes(self) -> None:
        world = World()
        async with world.running():
            world.other("1", name="other-0")
            await asyncio.sleep(10)
            since = world.at
            for number in range(300):
                world.others.remove(f"shop/other-{number}")
                await asyncio.sleep(0.5)
                world.other("1", name=f"other-{number + 1}")
                await asyncio.sleep(0.5)
            assert len(world.writes(since)) <= 2 * 5 + 1
            assert world.cpu == "3"

    async def test_heartbeats_of_the_members_nodes_cause_no_writes(self) -> None:
        world = World()
        async with world.running():
            await asyncio.sleep(10)
            since = world.at
            for number in range(100):
                again = node()
                again.metadata.resource_version = str(number)
                world.nodes.set(again)
                await asyncio.sleep(1)
            assert len(world.writes(since)) <= 2

    async def test_a_smaller_offer_is_written_within_five_seconds_and_a_larger_one_after_thirty(self) -> None:
        world = World()
        async with world.running():
            await asyncio.sleep(30)
            world.other("3")
            await asyncio.sleep(5)
            assert world.cpu == "1"
            world.others.remove("shop/other")
            await asyncio.sleep(25)
            assert world.cpu == "1"
            await asyncio.sleep(7)
            assert world.cpu == "4"

    async def test_labels_and_taints_of_ours_are_restored_and_those_of_others_stay(self) -> None:
        world = World({"labels": {"tier": "edge"}, "taints": [{"key": "team", "value": "a", "effect": "NoSchedule"}]})
        async with world.running():
            world.parent.edit(
                {
                    "metadata": {"labels": {"tier": "core", "theirs": "yes", wellknown.CLUSTER_LABEL: "another"}},
                    "spec": {"unschedulable": True, "taints": [{"key": "theirs", "effect": "NoSchedule"}]},
                }
            )
            await asyncio.sleep(3)
            found = world.parent.nodes[NAME]
            labels = found["metadata"]["labels"]
            assert (labels["tier"], labels["theirs"], labels[wellknown.CLUSTER_LABEL]) == ("edge", "yes", NAME)
            assert found["spec"]["unschedulable"] is True
            assert world.parent.taints() == {("team", "NoSchedule"), ("theirs", "NoSchedule")}

    @pytest.mark.parametrize("label", [None, "another"])
    async def test_a_node_without_its_label_is_still_ours_after_a_restart(self, label: str | None) -> None:
        world = World()
        async with world.running():
            pass
        world.parent.edit({"metadata": {"labels": {wellknown.CLUSTER_LABEL: label}}})
        world.build()
        async with world.running():
            assert world.parent.nodes[NAME]["metadata"]["labels"][wellknown.CLUSTER_LABEL] == NAME

    async def test_a_restart_of_the_provider_writes_only_the_status(self) -> None:
        world = World({"labels": {"tier": "edge"}})
        async with world.running():
            await asyncio.sleep(5)
        since = world.at
        world.build()
        async with world.running():
            assert world.writes(since) == ["PATCH status"]


async def test_the_version_follows_an_upgrade_of_the_member() -> None:
    world = World()
    async with world.running():
        world.version.set("v1.38.0")
        await asyncio.sleep(2)
        assert world.parent.nodes[NAME]["status"]["nodeInfo"]["kubeletVersion"] == "v1.38.0"


def is_not_ready(body: Manifest) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "False" for each in conditions)


class TestNodesOfTheMember:
    """A member that answers may have no node that runs anything."""

    async def test_a_member_whose_nodes_all_fail_is_not_ready_after_the_time_of_a_loss(self) -> None:
        world = World(nodes=(node("n1"), node("n2")))
        async with world.running():
            for name in ("n1", "n2"):
                world.nodes.set(node(name, ready=False))
            await asyncio.sleep(5)
            assert (world.parent.ready(), world.cpu) == ("True", "0")
            await asyncio.sleep(18)
            assert (world.parent.ready(), world.cpu) == ("False", "None")
            assert world.nodes_ready.value.reason == wellknown.MEMBER_NODES_NOT_READY
            world.nodes.set(node("n1"))
            await asyncio.sleep(3)
            assert (world.parent.ready(), world.cpu) == ("True", "4")

    async def test_pods_that_ask_for_it_are_held_before_the_node_is_not_ready(self) -> None:
        world = World()
        world.parent_pods.set(pod(annotations={wellknown.ON_LOST: "Hold"}))
        async with world.running():
            since = world.at
            world.nodes.set(node(ready=False))
            await asyncio.sleep(30)
            written = [(path, body) for at, _, path, body in world.parent.writes if at - world.start >= since]
            held = next(i for i, (path, _) in enumerate(written) if "/pods/" in path)
            not_ready = next(i for i, (_, body) in enumerate(written) if is_not_ready(body))
            assert held < not_ready

    async def test_a_restart_does_not_make_a_member_ready_whose_nodes_are_down(self) -> None:
        world = World()
        async with world.running():
            world.nodes.set(node(ready=False))
            await asyncio.sleep(30)
        world.build()
        async with world.running():
            await asyncio.sleep(1)
            assert world.parent.ready() == "False"

    @pytest.mark.parametrize("nodes", [(), (node(ready=False),)])
    async def test_a_member_without_a_node_that_was_ever_ready_is_not_ready(self, nodes: tuple[()]) -> None:
        world = World({"capacity": {"cpu": "64"}}, nodes)
        async with world.running():
            assert world.parent.ready() == "False"
            assert world.nodes_ready.value.reason == wellknown.MEMBER_HAS_NO_READY_NODES

    @pytest.mark.parametrize("nodes", [(), (node(ready=False),)])
    async def test_with_a_promise_it_is_ready_and_offers_the_promise(self, nodes: tuple[()]) -> None:
        world = World({"capacity": {"cpu": "64"}, "capacityPolicy": "Promise"}, nodes)
        async with world.running():
            assert (world.parent.ready(), world.cpu) == ("True", "64")

    async def test_a_member_that_scaled_to_zero_and_promises_more_is_ready(self) -> None:
        world = World({"capacity": {"cpu": "64"}, "capacityPolicy": "Promise"})
        async with world.running():
            world.nodes.set(node(ready=False))
            await asyncio.sleep(30)
            assert world.parent.ready() == "False"
            world.nodes.remove("n1")
            await asyncio.sleep(3)
            assert (world.parent.ready(), world.cpu) == ("True", "64")


class TestOwnPods:
    """What the parent's scheduler does not count of our pods."""

    @staticmethod
    def member_pod(cpu: str, **spec: object) -> Manifest:
        return {"nodeName": "n1", "containers": [{"name": "app", "resources": {"requests": {"cpu": cpu}}}], **spec}

    def bound(self, world: World, cpu: str, **spec: object) -> None:
        annotations = {wellknown.PARENT_UID: "p-1"}
        world.member_pods.set(
            pod(self.member_pod(cpu, **spec), uid="m-1", labels=NAMES.labels, annotations=annotations)
        )

    async def test_what_the_members_admission_has_added_is_not_offered(self) -> None:
        world = World()
        async with world.running():
            world.parent_pods.set(pod(self.member_pod("1")))
            self.bound(world, "1")
            await asyncio.sleep(3)
            assert world.cpu == "4"
            sidecar = {"name": "proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}}
            self.bound(world, "1", initContainers=[sidecar])
            await asyncio.sleep(3)
            assert world.cpu == "3500m"

    async def test_pods_that_are_cached_when_the_loop_is_built_count(self) -> None:
        world = World()
        self.bound(world, "1")
        world.other("500m")
        world.build()
        async with world.running():
            assert world.cpu == "2500m"

    async def test_a_member_pod_without_a_parent_pod_counts_whole_until_it_has_ended(self) -> None:
        world = World()
        async with world.running():
            self.bound(world, "1")
            await asyncio.sleep(3)
            assert world.cpu == "3"
            ended = pod(self.member_pod("1"), {"phase": "Succeeded"}, uid="m-1", labels=NAMES.labels)
            world.member_pods.set(ended)
            await asyncio.sleep(35)
            assert world.cpu == "4"


async def test_a_member_that_leaves_keeps_its_taint_and_its_cordon_when_its_node_is_deleted() -> None:
    world = World()
    world.state.leaving = True
    async with world.running():
        world.parent.delete_node()
        await asyncio.sleep(2)
        assert (wellknown.LEAVING_TAINT, "NoExecute") in world.parent.taints()
        assert world.parent.nodes[NAME]["spec"]["unschedulable"] is True
        world.parent.edit({"spec": {"unschedulable": False, "taints": []}})
        await asyncio.sleep(3)
        assert (wellknown.LEAVING_TAINT, "NoExecute") in world.parent.taints()
        assert world.parent.nodes[NAME]["spec"]["unschedulable"] is True
