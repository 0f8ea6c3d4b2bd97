"""The resources, labels and status of a virtual node, from the nodes of its member."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pods import Manifest, as_node, pod
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.objects import Metadata
from vk_provider.translate.nodes.offer import MemberNode, Usage, member_node, offer, usage
from vk_provider.translate.nodes.status import conditions, declared_features, labels, node_info
from vk_provider.translate.quantity import parse

READY = {"type": "Ready", "status": "True"}


def node(
    name: str = "n1",
    *,
    allocatable: Manifest | None = None,
    spec: Manifest | None = None,
    conditions: list[Manifest] | None = None,
    info: Manifest | None = None,
    labels: dict[str, str] | None = None,
    features: list[str] | None = None,
) -> MemberNode:
    resources = {"cpu": "4", "memory": "16Gi", "pods": "110"} if allocatable is None else allocatable
    return member_node(
        as_node(
            {
                "metadata": {"name": name, "labels": labels or {}},
                "spec": spec or {},
                "status": {
                    "allocatable": resources,
                    "capacity": resources,
                    "conditions": [READY] if conditions is None else conditions,
                    "nodeInfo": info or {},
                    "declaredFeatures": features or [],
                },
            }
        )
    )


def foreign(node_name: str = "n1", requests: Manifest | None = None, phase: str = "Running", **spec: Any) -> Usage:
    containers = [{"name": "c", "resources": {"requests": requests or {}}}]
    return usage(pod({"nodeName": node_name, "containers": containers, **spec}, {"phase": phase}))


def cluster(name: str = "member-a", node_name: str = "", **labels: str) -> MemberCluster:
    reference = SecretRef(name="kubeconfig", namespace="default")
    spec = MemberClusterSpec(kubeconfig_secret_ref=reference, node_name=node_name, labels=labels)
    return MemberCluster(metadata=Metadata(name=name), spec=spec)


class TestOffer:
    def test_sums_over_the_nodes(self) -> None:
        assert offer([node("n1"), node("n2")], [], {}).allocatable == {"cpu": "8", "memory": "32Gi", "pods": "220"}

    def test_counts_extended_resources(self) -> None:
        assert offer([node(allocatable={"nvidia.com/gpu": "2"})], [], {}).allocatable == {"nvidia.com/gpu": "2"}

    def test_subtracts_the_requests_of_other_pods(self) -> None:
        found = offer([node()], [foreign(requests={"cpu": "500m", "memory": "1Gi"})], {})
        assert found.allocatable == {"cpu": "3500m", "memory": "15Gi", "pods": "109"}

    def test_other_pods_do_not_reduce_the_capacity(self) -> None:
        assert offer([node()], [foreign(requests={"cpu": "1"})], {}).capacity["cpu"] == "4"

    def test_other_pods_on_unusable_nodes_do_not_count(self) -> None:
        others = [foreign("gone", {"cpu": "3"}), foreign("", {"cpu": "3"})]
        assert offer([node()], others, {}).allocatable["cpu"] == "4"

    def test_is_never_below_zero(self) -> None:
        assert offer([node()], [foreign(requests={"cpu": "99"})], {}).allocatable["cpu"] == "0"

    def test_is_limited_by_caps(self) -> None:
        found = offer([node()], [], {"cpu": 2, "memory": "1Ti"})
        assert (found.allocatable["cpu"], found.capacity["cpu"], found.allocatable["memory"]) == ("2", "2", "16Gi")

    def test_a_cap_does_not_add_a_resource(self) -> None:
        assert "nvidia.com/gpu" not in offer([node()], [], {"nvidia.com/gpu": "8"}).allocatable

    def test_a_member_without_nodes_offers_its_caps(self) -> None:
        assert offer([], [], {"cpu": "8", "memory": "32Gi"}).allocatable == {"cpu": "8", "memory": "32Gi"}

    def test_a_member_with_all_nodes_down_offers_nothing(self) -> None:
        down = node(conditions=[{"type": "Ready", "status": "Unknown"}])
        assert offer([down], [], {"cpu": "8"}).allocatable == {"cpu": "0", "memory": "0", "pods": "0"}

    @pytest.mark.parametrize(
        "spec",
        [
            {"unschedulable": True},
            {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]},
        ],
    )
    def test_nodes_that_accept_no_pods_do_not_count(self, spec: Manifest) -> None:
        assert offer([node("n1"), node("n2", spec=spec)], [], {}).allocatable["cpu"] == "4"

    @pytest.mark.parametrize(
        "taint",
        [
            {"key": "nvidia.com/gpu", "effect": "NoSchedule"},
            {"key": "node-role.kubernetes.io/control-plane", "effect": "PreferNoSchedule"},
        ],
    )
    def test_nodes_that_accept_pods_with_a_toleration_count(self, taint: Manifest) -> None:
        assert offer([node(spec={"taints": [taint]})], [], {}).allocatable["cpu"] == "4"

    def test_counts_are_written_without_binary_suffixes(self) -> None:
        found = offer([node(allocatable={"cpu": "1024", "memory": "1024", "pods": "2048"})], [], {})
        assert found.allocatable == {"cpu": "1024", "memory": "1Ki", "pods": "2048"}

    @given(
        st.lists(st.dictionaries(st.sampled_from(["cpu", "memory"]), st.integers(0, 50).map(str)), max_size=3),
        st.lists(st.dictionaries(st.sampled_from(["cpu", "memory"]), st.integers(0, 80).map(str)), max_size=3),
        st.dictionaries(st.sampled_from(["cpu", "memory"]), st.integers(0, 60)),
    )
    def test_is_never_negative_and_never_above_the_caps(
        self, nodes: list[Manifest], others: list[Manifest], caps: dict[str, int]
    ) -> None:
        found = offer(
            [node(f"n{i}", allocatable=resources) for i, resources in enumerate(nodes)],
            [foreign(f"n{i}", requests) for i, requests in enumerate(others)],
            caps,
        )
        for name, value in (*found.allocatable.items(), *found.capacity.items()):
            assert 0 <= parse(value) <= caps.get(name, 10**9)

    @given(st.lists(st.integers(0, 9), max_size=4))
    def test_allocatable_is_never_above_capacity(self, requests: list[int]) -> None:
        found = offer([node()], [foreign(requests={"cpu": str(cpu)}) for cpu in requests], {})
        assert all(parse(found.allocatable[name]) <= parse(found.capacity[name]) for name in found.allocatable)


class TestRequests:
    """Requests are computed as by the scheduler."""

    @staticmethod
    def cpu(spec: Manifest) -> Fraction:
        return usage(pod({"nodeName": "n1", **spec})).requests.get("cpu", Fraction(0))

    @staticmethod
    def container(name: str, cpu: int, *, sidecar: bool = False) -> Manifest:
        restart = {"restartPolicy": "Always"} if sidecar else {}
        return {"name": name, "resources": {"requests": {"cpu": str(cpu)}}, **restart}

    def test_containers_add_up(self) -> None:
        assert self.cpu({"containers": [self.container("a", 1), self.container("b", 2)]}) == 3

    def test_the_largest_init_container_counts_if_it_requests_more_than_the_containers(self) -> None:
        init = [self.container("x", 5), self.container("y", 4)]
        assert self.cpu({"containers": [self.container("a", 1)], "initContainers": init}) == 5

    def test_init_containers_do_not_count_if_the_containers_request_more(self) -> None:
        assert self.cpu({"containers": [self.container("a", 3)], "initContainers": [self.container("x", 2)]}) == 3

    def test_sidecars_add_to_the_containers(self) -> None:
        init = [self.container("proxy", 2, sidecar=True)]
        assert self.cpu({"containers": [self.container("a", 1)], "initContainers": init}) == 3

    def test_sidecars_add_to_the_init_containers_after_them(self) -> None:
        init = [self.container("proxy", 2, sidecar=True), self.container("x", 5)]
        assert self.cpu({"containers": [self.container("a", 1)], "initContainers": init}) == 7

    def test_sidecars_do_not_add_to_the_init_containers_before_them(self) -> None:
        init = [self.container("x", 5), self.container("proxy", 2, sidecar=True)]
        assert self.cpu({"containers": [self.container("a", 1)], "initContainers": init}) == 5

    def test_requests_of_the_pod_override_those_of_its_containers(self) -> None:
        spec = {"containers": [self.container("a", 3)], "resources": {"requests": {"cpu": "2"}}}
        assert self.cpu(spec) == 2

    def test_overhead_is_added(self) -> None:
        assert self.cpu({"containers": [self.container("a", 1)], "overhead": {"cpu": "250m"}}) == Fraction(5, 4)

    def test_every_pod_counts_as_one_pod(self) -> None:
        assert usage(pod({"nodeName": "n1"})).requests["pods"] == 1

    @pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
    def test_a_terminated_pod_requests_nothing(self, phase: str) -> None:
        assert foreign(requests={"cpu": "1"}, phase=phase).requests == {}

    def test_quantities_may_be_numbers(self) -> None:
        assert foreign(requests={"cpu": 2}).requests["cpu"] == 2

    def test_the_cached_object_has_the_node_and_the_key(self) -> None:
        kept = foreign("n7")
        assert (kept.node, kept.metadata.key) == ("n7", "shop/web-1")

    def test_the_cached_object_is_small(self) -> None:
        kept = usage(pod({"nodeName": "n1"}, labels={"app": "web"}, annotations={"long": "x" * 1000}))
        assert len(msgspec.json.encode(kept.metadata)) < 300


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
