"""The offer of a virtual node: the resources of the member's nodes without the requests of other pods."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.member_nodes import foreign, node
from tests.unit.pods import Manifest, pod
from vk_provider.api.membercluster import CapacityPolicy, Toleration
from vk_provider.translate.nodes.member_nodes import MemberNode, has_room, open_to_pods
from vk_provider.translate.nodes.offer import Offer
from vk_provider.translate.nodes.offer import offer as offer_of
from vk_provider.translate.nodes.requests import Usage, parsed, total, usage
from vk_provider.translate.quantity import parse


def offer(
    nodes: list[MemberNode],
    others: list[Usage],
    caps: dict[str, Any],
    policy: CapacityPolicy = CapacityPolicy.LIMIT,
    tolerations: tuple[Toleration, ...] = (),
) -> Offer:
    usable = [n for n in open_to_pods(nodes, [], tolerations) if has_room(n, tolerations)]
    use = {name: total(o.requests for o in others if o.node == name) for name in {o.node for o in others}}
    return offer_of(nodes, usable, use, parsed(caps), policy)


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

    def test_a_limit_is_no_offer_of_a_member_without_nodes(self) -> None:
        assert offer([], [], {"cpu": "8"}) == Offer()

    def test_a_promise_is_the_offer_of_a_member_without_nodes(self) -> None:
        found = offer([], [], {"cpu": "8", "memory": "32Gi"}, CapacityPolicy.PROMISE)
        assert found.allocatable == found.capacity == {"cpu": "8", "memory": "32Gi"}

    def test_a_promise_is_what_the_member_will_grow_to_less_what_others_use(self) -> None:
        found = offer([node()], [foreign(requests={"cpu": "1"})], {"cpu": "64"}, CapacityPolicy.PROMISE)
        assert (found.capacity["cpu"], found.allocatable["cpu"]) == ("64", "63")

    def test_a_promise_is_no_limit(self) -> None:
        assert offer([node()], [], {"cpu": "2"}, CapacityPolicy.PROMISE).allocatable["cpu"] == "4"

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
        ("taint", "cpu"),
        [
            ({"key": "nvidia.com/gpu", "effect": "NoSchedule"}, "0"),
            ({"key": "ToBeDeletedByClusterAutoscaler", "effect": "NoSchedule"}, "0"),
            ({"key": "spot", "value": "true", "effect": "NoExecute"}, "0"),
            ({"key": "node.kubernetes.io/disk-pressure", "effect": "NoSchedule"}, "0"),
            ({"key": "node.kubernetes.io/memory-pressure", "effect": "NoSchedule"}, "4"),
            ({"key": "spot", "effect": "PreferNoSchedule"}, "4"),
            ({"key": "node-role.kubernetes.io/control-plane", "effect": "PreferNoSchedule"}, "4"),
        ],
    )
    def test_nodes_with_a_taint_that_keeps_pods_away_do_not_count(self, taint: Manifest, cpu: str) -> None:
        assert offer([node(spec={"taints": [taint]})], [], {}).allocatable["cpu"] == cpu

    def test_nodes_with_a_taint_that_the_spec_tolerates_count(self) -> None:
        pool = [node(spec={"taints": [{"key": "gpu", "value": "a", "effect": "NoSchedule"}]})]
        for toleration, cpu in (
            (Toleration(key="gpu", operator="Exists"), "4"),
            (Toleration(key="gpu", value="a"), "4"),
            (Toleration(key="gpu", value="b"), "0"),
            (Toleration(key="gpu", operator="Exists", effect="NoExecute"), "0"),
        ):
            assert offer(pool, [], {}, tolerations=(toleration,)).allocatable["cpu"] == cpu, toleration

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
