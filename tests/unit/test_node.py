"""The resources, labels and status of a virtual node, from the nodes of its member."""

from __future__ import annotations

import pytest

from tests.unit.member_nodes import READY, node
from tests.unit.pods import as_node
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.objects import Metadata
from vk_provider.translate.nodes.offer import MemberNode, member_node
from vk_provider.translate.nodes.status import conditions, declared_features, labels, node_info


def cluster(name: str = "member-a", node_name: str = "", **labels: str) -> MemberCluster:
    reference = SecretRef(name="kubeconfig", namespace="default")
    spec = MemberClusterSpec(kubeconfig_secret_ref=reference, node_name=node_name, labels=labels)
    return MemberCluster(metadata=Metadata(name=name), spec=spec)


class TestLabels:
    def test_labels_that_all_nodes_share_are_copied(self) -> None:
        nodes = [node("n1", labels={"disk": "ssd", "gpu": "a100"}), node("n2", labels={"disk": "ssd"})]
        found = labels(cluster(), "member-a", nodes)
        assert ("disk" in found, "gpu" in found) == (True, False)

    def test_labels_in_the_spec_override_labels_of_the_nodes(self) -> None:
        assert labels(cluster(disk="fast"), "member-a", [node(labels={"disk": "ssd"})])["disk"] == "fast"

    def test_the_zone_is_the_name_of_the_member_if_its_nodes_have_different_zones(self) -> None:
        nodes = [node(n, labels={"topology.kubernetes.io/zone": n}) for n in ("a", "b")]
        assert labels(cluster(), "member-a", nodes)["topology.kubernetes.io/zone"] == "member-a"

    def test_the_zone_is_the_one_of_the_nodes_if_all_have_the_same(self) -> None:
        nodes = [node(n, labels={"topology.kubernetes.io/zone": "eu-1"}) for n in ("a", "b")]
        assert labels(cluster(), "member-a", nodes)["topology.kubernetes.io/zone"] == "eu-1"

    def test_labels_of_the_provider_override_all_others(self) -> None:
        forged = {"kubernetes.io/hostname": "n1", "type": "x", "vk-provider.io/cluster": "x"}
        found = labels(cluster(node_name="vk-a", type="y"), "vk-a", [node(labels=forged)])
        assert {key: found[key] for key in forged} == {
            "kubernetes.io/hostname": "vk-a",
            "type": "virtual-kubelet",
            "vk-provider.io/cluster": "member-a",
        }

    def test_load_balancers_exclude_the_node(self) -> None:
        assert "node.kubernetes.io/exclude-from-external-load-balancers" in labels(cluster(), "member-a", [])

    def test_roles_of_member_nodes_are_not_copied(self) -> None:
        found = labels(cluster(), "member-a", [node(labels={"node-role.kubernetes.io/control-plane": ""})])
        assert not any(key.startswith("node-role.kubernetes.io/") for key in found)

    def test_the_operating_system_without_nodes_is_linux(self) -> None:
        assert labels(cluster(), "member-a", [])["kubernetes.io/os"] == "linux"


class TestConditions:
    @staticmethod
    def memory(nodes: list[MemberNode]) -> str:
        return next(c["status"] for c in conditions(nodes) if c["type"] == "MemoryPressure")

    PRESSED = staticmethod(lambda name: node(name, conditions=[READY, {"type": "MemoryPressure", "status": "True"}]))

    def test_pressure_on_all_nodes_is_pressure(self) -> None:
        assert self.memory([self.PRESSED("n1"), self.PRESSED("n2")]) == "True"

    def test_pressure_on_some_nodes_is_no_pressure(self) -> None:
        assert self.memory([self.PRESSED("n1"), node("n2")]) == "False"

    def test_unusable_nodes_without_pressure_do_not_count(self) -> None:
        assert self.memory([self.PRESSED("n1"), node("n2", spec={"unschedulable": True})]) == "True"

    def test_without_nodes_there_is_no_pressure(self) -> None:
        assert self.memory([]) == "False"

    def test_all_conditions_of_a_kubelet_are_present(self) -> None:
        kinds = {"MemoryPressure", "DiskPressure", "PIDPressure", "NetworkUnavailable"}
        assert {c["type"] for c in conditions([node()])} == kinds


class TestMemberNode:
    @pytest.mark.parametrize("status", ["False", "Unknown"])
    def test_a_node_that_is_not_ready_is_not_usable(self, status: str) -> None:
        assert not node(conditions=[{"type": "Ready", "status": status}]).usable

    def test_a_node_without_a_status_is_not_usable(self) -> None:
        assert not member_node(as_node({"metadata": {"name": "n1"}})).usable

    def test_a_ready_node_is_usable(self) -> None:
        assert node().usable


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
    def test_are_the_sorted_features_of_all_usable_nodes(self) -> None:
        nodes = [
            node("n1", features=["Z", "B"]),
            node("n2", features=["A", "B"]),
            node("n3", conditions=[], features=["C"]),
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
