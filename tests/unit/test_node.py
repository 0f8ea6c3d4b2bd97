"""The resources, labels and status of a virtual node, from the nodes of its member."""

from __future__ import annotations

import pytest

from tests.unit.member_nodes import READY, node
from tests.unit.pods import as_node
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.objects import Metadata
from vk_provider.translate.nodes.labels import labels
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node, open_to_pods
from vk_provider.translate.nodes.status import conditions, declared_features, node_info


def cluster(name: str = "member-a", node_name: str = "", **labels: str) -> MemberCluster:
    reference = SecretRef(name="kubeconfig", namespace="default")
    spec = MemberClusterSpec(kubeconfig_secret_ref=reference, node_name=node_name, labels=labels)
    return MemberCluster(metadata=Metadata(name=name), spec=spec)


class TestLabels:
    def test_labels_in_the_spec_override_labels_of_the_nodes(self) -> None:
        assert labels(cluster(disk="fast"), "member-a", {"disk": "ssd"})["disk"] == "fast"

    def test_the_zone_is_the_name_of_the_member_if_its_nodes_do_not_agree(self) -> None:
        assert labels(cluster(), "member-a", {})["topology.kubernetes.io/zone"] == "member-a"

    def test_the_zone_is_the_one_that_the_nodes_agree_on(self) -> None:
        zone = {"topology.kubernetes.io/zone": "eu-1"}
        assert labels(cluster(), "member-a", zone)["topology.kubernetes.io/zone"] == "eu-1"

    def test_labels_of_the_provider_override_all_others(self) -> None:
        forged = {"kubernetes.io/hostname": "n1", "type": "x", "vk-provider.io/cluster": "x"}
        found = labels(cluster(node_name="vk-a", type="y"), "vk-a", forged)
        assert {key: found[key] for key in forged} == {
            "kubernetes.io/hostname": "vk-a",
            "type": "virtual-kubelet",
            "vk-provider.io/cluster": "member-a",
        }

    def test_load_balancers_exclude_the_node(self) -> None:
        assert "node.kubernetes.io/exclude-from-external-load-balancers" in labels(cluster(), "member-a", {})

    def test_the_operating_system_without_nodes_is_linux(self) -> None:
        assert labels(cluster(), "member-a", {})["kubernetes.io/os"] == "linux"


class TestConditions:
    @staticmethod
    def memory(nodes: list[MemberNode]) -> str:
        return next(c["status"] for c in conditions(nodes) if c["type"] == "MemoryPressure")

    PRESSED = staticmethod(lambda name: node(name, conditions=[READY, {"type": "MemoryPressure", "status": "True"}]))

    def test_pressure_on_all_nodes_is_pressure(self) -> None:
        assert self.memory([self.PRESSED("n1"), self.PRESSED("n2")]) == "True"

    def test_pressure_on_some_nodes_is_no_pressure(self) -> None:
        assert self.memory([self.PRESSED("n1"), node("n2")]) == "False"

    def test_without_nodes_there_is_no_pressure(self) -> None:
        assert self.memory([]) == "False"

    def test_all_conditions_of_a_kubelet_are_present(self) -> None:
        kinds = {"MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"}
        assert {c["type"] for c in conditions([node()])} == kinds


class TestMemberNode:
    @pytest.mark.parametrize("status", ["False", "Unknown"])
    def test_a_node_that_is_not_ready_is_not_open_to_pods(self, status: str) -> None:
        assert open_to_pods([node(conditions=[{"type": "Ready", "status": status}])], [], []) == []

    def test_a_node_without_a_status_is_not_open_to_pods(self) -> None:
        assert open_to_pods([member_node(as_node({"metadata": {"name": "n1"}}))], [], []) == []

    def test_a_ready_node_is_open_to_pods_unless_it_is_cordoned(self) -> None:
        ready = node()
        assert open_to_pods([ready, node(spec={"unschedulable": True})], [], []) == [ready]

    def test_a_heartbeat_is_no_difference(self) -> None:
        before, after = node(), node()
        after.metadata.resource_version = "2"
        after.metadata.annotations = {"seen": "now"}
        assert after.same(before)
        assert not node(labels={"zone": "b"}).same(before)
        assert not node(spec={"unschedulable": True}).same(before)


class TestNodeInfo:
    def test_values_that_all_nodes_share_are_shown(self) -> None:
        found = node_info(
            [node(n, info={"kernelVersion": "6.1", "architecture": "arm64"}) for n in "ab"], "v1.37.2", "1"
        )
        assert (found["kernelVersion"], found["architecture"]) == ("6.1", "arm64")

    def test_values_that_differ_are_empty(self) -> None:
        nodes = [node(kernel, info={"kernelVersion": kernel}) for kernel in ("5.15", "6.1")]
        assert node_info(nodes, "v1.37.2", "1")["kernelVersion"] == ""

    def test_the_kubelet_version_is_the_version_of_the_members_api_server(self) -> None:
        assert node_info([node(info={"kubeletVersion": "v1.30.0"})], "v1.37.2", "1")["kubeletVersion"] == "v1.37.2"

    def test_every_required_field_is_present(self) -> None:
        assert set(node_info([], "v1.37.2", "1")) == {
            "machineID",
            "systemUUID",
            "bootID",
            "kernelVersion",
            "osImage",
            "containerRuntimeVersion",
            "kubeletVersion",
            "kubeProxyVersion",
            "operatingSystem",
            "architecture",
        }


class TestDeclaredFeatures:
    def test_are_the_sorted_features_of_all_nodes(self) -> None:
        nodes = [
            node("n1", features=["Z", "B"]),
            node("n2", features=["A", "B"]),
        ]
        assert declared_features(nodes, "", served=True) == ["A", "B", "Z"]

    @pytest.mark.parametrize(
        ("version", "served", "declared"),
        [("v1.31.0", True, True), ("1.37+", True, True), ("v1.30.9", True, False), ("v1.37.0", False, False)],
    )
    def test_features_of_the_kubelet_api_depend_on_the_provider(
        self, version: str, served: bool, declared: bool
    ) -> None:
        nodes = [node(features=["ExtendWebSocketsToKubelet"])]
        assert declared_features(nodes, version, served=served) == ["ExtendWebSocketsToKubelet"] * declared
