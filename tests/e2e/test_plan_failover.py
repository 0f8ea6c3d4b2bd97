"""A shadow pod on a real node: the kubelet does not start it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from demo.world import World

from vk_provider.kube.objects import encode
from vk_provider.translate.nodes.plan import Plan, Planned, shadow

MEMBER = "alpha"  # in place of a parent with real nodes


@pytest.fixture
def plan(world: World) -> Iterator[Plan]:
    """A shadow pod with its PriorityClass."""
    name = Plan("e2e", "elsewhere").name
    body = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": -1}
    world.create_in(MEMBER, "-f", "-", stdin=json.dumps(body | {"preemptionPolicy": "Never"}))
    yield Plan("e2e", "elsewhere", world.get("priorityclass", name, cluster=MEMBER)["metadata"]["uid"])
    world.delete_in(MEMBER, "priorityclass", name, "--ignore-not-found")


def test_a_kubelet_never_starts_a_shadow_pod_and_it_is_deleted_with_its_plan(world: World, plan: Plan) -> None:
    container = {"name": "main", "image": "busybox:1.36", "command": ["sleep", "1000"]}
    manifest = {
        "metadata": {"name": "web", "namespace": "default", "uid": "u", "labels": {"app": "web"}},
        "spec": {"initContainers": [container | {"name": "first"}], "containers": [container]},
    }
    body = shadow(msgspec.json.decode(encode(manifest), type=Planned), "plan-e2e-1", plan)
    world.create_in(MEMBER, "-f", "-", stdin=json.dumps(body))
    world.until("the kubelet waits for the ConfigMap", lambda: "FailedMount" in reasons(world))
    found = world.get("pod", "plan-e2e-1", cluster=MEMBER)
    assert found["spec"]["nodeName"], "the scheduler has bound it"
    status = found["status"]
    assert (status["phase"], status.get("podIP")) == ("Pending", None)
    conditions = {condition["type"]: condition["status"] for condition in status["conditions"]}
    assert conditions["PodReadyToStartContainers"] == "False", "the shadow pod has no sandbox"
    assert reasons(world) == {"Scheduled", "FailedMount"}
    world.delete_in(MEMBER, "priorityclass", plan.name)
    world.until("the garbage collector has deleted it", lambda: world.get("pod", "plan-e2e-1", cluster=MEMBER) is None)


def reasons(world: World) -> set[str]:
    """The reasons of the Events about the shadow pod."""
    events: list[dict[str, Any]] = world.objects(
        "events", "--field-selector", "involvedObject.name=plan-e2e-1", cluster=MEMBER
    )
    return {event["reason"] for event in events}
