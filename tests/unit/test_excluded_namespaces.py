"""Namespaces of the system are not used in members: their new pods stay Pending, and those that run stay."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import yaml

from tests.unit.dependents_world import NAMES, World, bound, world
from tests.unit.objects_server import Json, ObjectServer
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberClusterSpec, Namespaces, SecretRef
from vk_provider.kube.resources import NAMESPACES, NODES, PODS

pytestmark = pytest.mark.looptime

SYSTEM = "kube-system"
CRD = Path(__file__).resolve().parents[2] / "manifests" / "crds" / "memberclusters.yaml"


def servers() -> tuple[ObjectServer, ObjectServer]:
    parent, member = ObjectServer(), ObjectServer()
    for server in (parent, member):
        server.put(NAMESPACES, SYSTEM)
    return parent, member


def waiting(parent: ObjectServer) -> Json:
    found = parent.find(PODS, "proxy", SYSTEM)
    assert found
    state: Json = found["status"]["containerStatuses"][0]["state"]["waiting"]
    return state


def use_everything(running: World) -> None:
    cluster = running.cluster.value
    spec = MemberClusterSpec(SecretRef("s", "n"), namespaces=Namespaces(frozenset()))
    running.cluster.set(type(cluster)(cluster.metadata, spec))


async def test_a_new_pod_of_kube_system_stays_pending_and_has_the_reason() -> None:
    parent, member = servers()
    bound(parent, "proxy", SYSTEM)
    async with world(parent, member) as running:
        await asyncio.sleep(300)
        assert not member.names(PODS)
        assert parent.find(PODS, "proxy", SYSTEM)["status"]["phase"] == "Pending"  # type: ignore[index]  # it is there
        assert waiting(parent)["reason"] == wellknown.NAMESPACE_EXCLUDED
        assert "spec.namespaces.exclude" in waiting(parent)["message"]
        assert wellknown.NAMESPACE_EXCLUDED in running.reasons()


@pytest.mark.parametrize(("kind", "moves"), [("ReplicaSet", True), ("DaemonSet", False)])
async def test_it_moves_at_once_if_its_controller_replaces_it_and_another_node_may_take_it(
    kind: str, moves: bool
) -> None:
    parent, member = servers()
    ready = [{"type": "Ready", "status": "True"}]
    parent.put(NODES, "other", spec={}, status={"conditions": ready})
    owner = {"apiVersion": "apps/v1", "kind": kind, "name": "dns", "uid": "o-1", "controller": True}
    bound(parent, "proxy", SYSTEM, metadata={"ownerReferences": [owner]})
    async with world(parent, member) as running:
        await asyncio.sleep(20)
        assert parent.names(PODS) == (set() if moves else {"proxy"})
        assert wellknown.NAMESPACE_EXCLUDED in running.reasons()


async def test_it_runs_once_the_list_does_not_name_its_namespace() -> None:
    parent, member = servers()
    bound(parent, "proxy", SYSTEM)
    async with world(parent, member) as running:
        await asyncio.sleep(10)
        use_everything(running)
        await asyncio.sleep(60)
        assert member.names(PODS, SYSTEM) == {"proxy"}


async def test_a_pod_that_runs_already_stays_and_is_not_created_again_when_it_is_lost() -> None:
    parent, member = servers()
    metadata = bound(parent, "proxy", SYSTEM)["metadata"]
    annotations = {
        wellknown.PARENT_UID: metadata["uid"],
        wellknown.PARENT_NAMESPACE: SYSTEM,
        wellknown.PARENT_NAME: "proxy",
    }
    spec, status = {"containers": [{"name": "app", "image": "app:1"}]}, {"phase": "Running"}
    about = {"labels": NAMES.labels, "annotations": annotations}
    member.put(PODS, "proxy", SYSTEM, spec=spec, status=status, metadata=about)
    async with world(parent, member):
        await asyncio.sleep(60)
        assert member.names(PODS) == {"proxy"}
        found = parent.find(PODS, "proxy", SYSTEM)
        assert found and found["status"]["phase"] == "Running"
        member.remove(PODS, "proxy", SYSTEM)
        await asyncio.sleep(60)
        assert not member.names(PODS)
        assert waiting(parent)["reason"] == wellknown.NAMESPACE_EXCLUDED


def test_the_defaults_of_the_crd_and_of_the_program_are_the_same() -> None:
    crd = yaml.safe_load(CRD.read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    assert frozenset(spec["properties"]["namespaces"]["properties"]["exclude"]["default"]) == Namespaces().exclude
