"""What a virtual node should be: labels that nodes agree on, shared taints, the smallest offer, added tolerations."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pods import TARGET, Manifest, as_pod, pod
from tests.unit.virtual_nodes import NAME, SIZE, cluster, node
from vk_provider.api.membercluster import AddTo, Toleration
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.extended import requested
from vk_provider.translate.nodes.keys import is_qualified_name, is_value
from vk_provider.translate.nodes.labels import AgreedLabels, allowed
from vk_provider.translate.nodes.member_nodes import MemberNode, NodeTaint
from vk_provider.translate.nodes.offer import Offer, SmallestOffer
from vk_provider.translate.nodes.taints import SharedTaints, added_tolerations
from vk_provider.translate.nodes.wanted import Known, NodeView, Wanted
from vk_provider.translate.pods.change import changes
from vk_provider.translate.pods.differences import differences
from vk_provider.translate.pods.pod import member_pod

ZONE = "topology.kubernetes.io/zone"
REGION = "topology.kubernetes.io/region"
GPU = {"key": "example.com/gpu", "value": "present", "effect": "NoSchedule"}
GPU_TAINT = NodeTaint("example.com/gpu", "NoSchedule", "present")


class TestAllowedLabels:
    @pytest.mark.parametrize(
        "key",
        [
            *(ZONE, REGION, "kubernetes.io/os", "kubernetes.io/arch", "node.kubernetes.io/instance-type"),
            *("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator", "mine", "example.com/a"),
        ],
    )
    def test_where_the_node_is_what_it_is_and_what_the_spec_lists(self, key: str) -> None:
        assert allowed(key, ["mine", "example.com/*"])

    @pytest.mark.parametrize(
        "key",
        ["disk", "example.org/a", "node-role.kubernetes.io/control-plane", "example.com.evil/a", "nvidia.com/other"],
    )
    def test_no_other_label_of_the_members_nodes(self, key: str) -> None:
        assert not allowed(key, ["mine", "example.com/*"])

    @pytest.mark.parametrize("domain", ["node-restriction.kubernetes.io", "x.node-restriction.kubernetes.io"])
    def test_never_what_isolates_nodes_of_the_parent(self, domain: str) -> None:
        assert not allowed(f"{domain}/a", [f"{domain}/a", f"{domain}/*"])


class TestAgreedLabels:
    @staticmethod
    def agreed(known: dict[str, str] | None = None) -> AgreedLabels:
        return AgreedLabels(known or {}, 0.0)

    def test_are_those_that_all_nodes_have_with_the_same_value(self) -> None:
        found = self.agreed().update(0, [{ZONE: "a", REGION: "eu"}, {ZONE: "b", REGION: "eu"}], [])
        assert found == {REGION: "eu"}

    def test_one_stays_for_five_minutes_after_the_agreement_has_ended(self) -> None:
        labels = self.agreed()
        labels.update(0, [{ZONE: "a"}], [])
        assert labels.update(10, [{ZONE: "a"}, {}], []) == {ZONE: "a"}
        assert labels.due == 300
        assert labels.update(299, [{ZONE: "a"}, {}], []) == {ZONE: "a"}
        assert labels.update(300, [{ZONE: "a"}, {}], []) == {}

    def test_a_node_that_joins_without_its_labels_changes_nothing(self) -> None:
        labels = self.agreed()
        labels.update(0, [{ZONE: "a"}], [])
        labels.update(100, [{ZONE: "a"}, {}], [])
        labels.update(120, [{ZONE: "a"}, {ZONE: "a"}], [])
        assert labels.due == float("inf")
        assert labels.update(1000, [{ZONE: "a"}], []) == {ZONE: "a"}

    def test_another_agreement_replaces_it_after_that_time(self) -> None:
        labels = self.agreed()
        labels.update(0, [{ZONE: "a"}], [])
        assert labels.update(10, [{ZONE: "b"}], []) == {ZONE: "a"}
        assert labels.update(300, [{ZONE: "b"}], []) == {ZONE: "b"}

    def test_the_last_ones_stay_while_there_is_no_node(self) -> None:
        labels = self.agreed()
        labels.update(0, [{ZONE: "a"}], [])
        assert labels.update(5000, [], []) == {ZONE: "a"}

    def test_those_of_an_earlier_process_stay_as_long(self) -> None:
        assert self.agreed({ZONE: "a"}).update(299, [{}], []) == {ZONE: "a"}
        assert self.agreed({ZONE: "a"}).update(300, [{}], []) == {}

    def test_one_that_the_spec_no_longer_lists_goes_at_once(self) -> None:
        labels = self.agreed()
        assert labels.update(0, [{"mine": "a"}], ["mine"]) == {"mine": "a"}
        assert labels.update(1, [{"mine": "a"}], []) == {}


class TestSharedTaints:
    def test_one_is_shown_once_all_ready_nodes_have_shared_it_for_a_minute(self) -> None:
        shared = SharedTaints(known=())
        nodes = [node("n1", taints=(GPU,)), node("n2", taints=(GPU,))]
        assert shared.update(0, nodes) == []
        assert shared.due == 60
        assert shared.update(60, nodes) == [GPU_TAINT]

    def test_one_that_a_node_lacks_is_not_shown_at_once(self) -> None:
        shared = SharedTaints(known=None)
        assert shared.update(0, [node("n1", taints=(GPU,))]) == [GPU_TAINT]
        assert shared.update(1, [node("n1", taints=(GPU,)), node("n2")]) == []

    def test_what_an_earlier_process_has_shown_stays(self) -> None:
        shared = SharedTaints(known={("example.com/gpu", "NoSchedule")})
        spot = {"key": "spot", "effect": "NoExecute"}
        assert shared.update(0, [node("n1", taints=(GPU, spot))]) == [GPU_TAINT]

    def test_the_last_ones_stay_while_no_node_is_ready(self) -> None:
        shared = SharedTaints(known=None)
        shared.update(0, [node("n1", taints=(GPU,))])
        assert shared.update(500, []) == [GPU_TAINT]

    @pytest.mark.parametrize("key", ["node.kubernetes.io/disk-pressure", "vk-provider.io/suspect"])
    def test_taints_of_kubernetes_and_of_a_provider_are_not_shown(self, key: str) -> None:
        tainted = node("n1", taints=({"key": key, "effect": "NoSchedule"},))
        assert SharedTaints(known=None).update(0, [tainted]) == []


class TestAddedTolerations:
    TOLERATION = Toleration(key="example.com/gpu", operator="Exists")

    @staticmethod
    def pool() -> list[MemberNode]:
        gpu = SIZE | {"example.com/gpu": "2"}
        return [node("n1"), node("n2", taints=(GPU,), size=gpu)]

    def test_a_pod_that_requests_what_only_tainted_nodes_have_gets_the_toleration(self) -> None:
        found = added_tolerations({"example.com/gpu"}, [self.TOLERATION], self.pool())
        assert found == [{"key": "example.com/gpu", "operator": "Exists"}]

    def test_a_pod_that_requests_nothing_of_them_does_not(self) -> None:
        assert added_tolerations(set(), [self.TOLERATION], self.pool()) == []
        assert added_tolerations({"example.com/other"}, [self.TOLERATION], self.pool()) == []

    def test_a_resource_that_an_untainted_node_has_needs_no_toleration(self) -> None:
        pool = [*self.pool(), node("n3", size={"example.com/gpu": "1"})]
        assert added_tolerations({"example.com/gpu"}, [self.TOLERATION], pool) == []

    def test_a_node_with_none_left_does_not_count(self) -> None:
        pool = [*self.pool(), node("n3", size={"example.com/gpu": "0"})]
        assert len(added_tolerations({"example.com/gpu"}, [self.TOLERATION], pool)) == 1

    def test_every_pod_gets_one_that_is_for_all(self) -> None:
        for_all = Toleration(key="spot", operator="Exists", add_to=AddTo.ALL)
        assert added_tolerations(set(), [for_all], []) == [{"key": "spot", "operator": "Exists"}]


class TestSmallestOffer:
    @staticmethod
    def cpu(value: int) -> Offer:
        return Offer({"cpu": "9"}, {"cpu": str(value)})

    def test_a_smaller_one_counts_at_once_and_a_larger_one_after_thirty_seconds(self) -> None:
        smallest = SmallestOffer()
        assert smallest.add(0, self.cpu(4)).allocatable == {"cpu": "4"}
        assert smallest.add(10, self.cpu(2)).allocatable == {"cpu": "2"}
        assert smallest.add(20, self.cpu(3)).allocatable == {"cpu": "2"}
        assert smallest.due == 50
        assert smallest.add(49, self.cpu(3)).allocatable == {"cpu": "2"}
        assert smallest.add(50, self.cpu(3)).allocatable == {"cpu": "3"}
        assert smallest.due == float("inf")

    def test_a_new_resource_counts_at_once_and_one_that_is_gone_too(self) -> None:
        smallest = SmallestOffer()
        smallest.add(0, Offer({}, {"cpu": "1"}))
        assert smallest.add(1, Offer({}, {"gpu": "1"})).allocatable == {"gpu": "1"}

    @given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 9)), min_size=1, max_size=20))
    def test_is_the_smallest_that_was_current_in_the_last_thirty_seconds(self, steps: list[tuple[int, int]]) -> None:
        smallest, now, history = SmallestOffer(), 0, list[tuple[int, int]]()
        for wait, value in steps:
            now += wait
            found = int(smallest.add(now, self.cpu(value)).allocatable["cpu"])
            history.append((now, value))
            # A value is current from its own time until that of the next one.
            ends = [at for at, _ in history[1:]] + [now + 1]
            expected = min(v for (_, v), end in zip(history, ends, strict=True) if end > now - 30)
            assert found == expected


class TestView:
    """The parts together."""

    @staticmethod
    def look(nodes: list[MemberNode], spec: Manifest | None = None, now: float = 0.0) -> Wanted:
        member = cluster(spec)
        return NodeView(NAME, Known(), member, 0.0).look(now, member, nodes, {})

    def test_a_taint_that_all_nodes_have_is_shown_and_their_resources_count(self) -> None:
        found = self.look([node("n1", taints=(GPU,)), node("n2", taints=(GPU,))])
        assert (found.taints, found.offer.allocatable["cpu"]) == ([GPU_TAINT], "8")

    def test_the_nodes_of_the_control_plane_do_not_vote_on_it(self) -> None:
        role = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
        found = self.look([node("cp", taints=(role,)), node("n1", taints=(GPU,))])
        assert (found.taints, found.offer.allocatable["cpu"]) == ([GPU_TAINT], "4")

    def test_a_taint_that_some_nodes_have_is_not_shown_and_they_do_not_count(self) -> None:
        found = self.look([node("n1", taints=(GPU,)), node("n2")])
        assert (found.taints, found.offer.allocatable["cpu"]) == ([], "4")

    def test_a_member_whose_nodes_are_all_tainted_a_moment_ago_is_ready_and_offers_nothing(self) -> None:
        member = cluster()
        view = NodeView(NAME, Known(taints=frozenset()), member, 0.0)
        found = view.look(0.0, member, [node("n1", taints=(GPU,))], {})
        assert (found.ready.ready, found.taints, found.offer.allocatable["cpu"]) == (True, [], "0")
        found = view.look(100.0, member, [node("n1", taints=(GPU,))], {})
        assert found.taints == [GPU_TAINT]

    def test_only_nodes_that_count_vote_for_labels(self) -> None:
        nodes = [node("n1", labels={ZONE: "a"}), node("n2", ready=False), node("n3", cordoned=True)]
        assert self.look(nodes).labels[ZONE] == "a"

    def test_a_taint_of_the_spec_overrides_one_of_the_nodes(self) -> None:
        found = self.look([node(taints=(GPU,))], {"taints": [GPU | {"value": "ours"}]})
        assert found.taints == [NodeTaint("example.com/gpu", "NoSchedule", "ours")]

    def test_a_cordoned_member_is_ready_and_offers_nothing(self) -> None:
        found = self.look([node(cordoned=True)])
        assert (found.ready.ready, found.offer.allocatable["cpu"]) == (True, "0")


@pytest.mark.parametrize("key", ["a", "A_b.c-1", "example.com/a", "x" * 63, f"{'a.' * 126}a/b"])
def test_a_key_that_the_api_server_accepts_is_valid(key: str) -> None:
    assert is_qualified_name(key)


@pytest.mark.parametrize("key", ["", "a b", "-a", "a-", "/a", "a/", "A.com/a", "a/b/c", "x" * 64, f"{'a' * 254}/b"])
def test_a_key_that_the_api_server_refuses_is_not_valid(key: str) -> None:
    assert not is_qualified_name(key)


@pytest.mark.parametrize(("value", "valid"), [("", True), ("a", True), ("a b", False), ("x" * 64, False), ("-", False)])
def test_values_of_labels(value: str, valid: bool) -> None:
    assert is_value(value) is valid


def test_the_fields_of_a_member_cluster_are_read() -> None:
    spec: dict[str, Any] = {
        "providerID": "vk://a",
        "labelKeys": ["a"],
        "capacityPolicy": "Promise",
        "tolerations": [{"key": "k", "operator": "Exists", "addTo": "All"}],
    }
    found = cluster(spec).spec
    assert (found.provider_id, found.label_keys, found.capacity_policy) == ("vk://a", ["a"], "Promise")
    assert (found.tolerations[0].add_to, found.tolerations[0].of_pod) == ("All", {"key": "k", "operator": "Exists"})


class TestMemberPods:
    """The tolerations that a member pod gets in addition to those of its parent pod."""

    @staticmethod
    def asking(**requests: str) -> Pod:
        container = {"name": "app", "resources": {"requests": requests, "limits": requests}}
        return pod({"containers": [container], "tolerations": [{"key": "own", "operator": "Exists"}]})

    def test_extended_resources_that_a_pod_requests(self) -> None:
        assert requested(self.asking(**{"cpu": "1", "example.com/gpu": "1"})) == {"example.com/gpu"}
        assert requested(self.asking(cpu="1")) == set()

    def test_they_are_added_to_those_of_the_parent_pod_and_stay_when_that_changes(self) -> None:
        added = [{"key": "example.com/gpu", "operator": "Exists"}]
        parent = self.asking(cpu="1")
        manifest = member_pod(parent, TARGET, tolerations=added)
        assert manifest["spec"]["tolerations"] == [{"key": "own", "operator": "Exists"}, *added]
        assert list(changes(parent, as_pod(manifest), TARGET)) == []

    def test_a_pod_without_additional_ones_is_translated_as_before(self) -> None:
        parent = pod()
        assert "tolerations" not in member_pod(parent, TARGET)["spec"]
        assert member_pod(parent, TARGET, tolerations=()) == member_pod(parent, TARGET)

    def test_the_difference_is_explained(self) -> None:
        parent = self.asking(cpu="1")
        manifest = member_pod(parent, TARGET, tolerations=[{"key": "spot", "operator": "Exists"}])
        found = {each.field: each for each in differences({"spec": fields(parent.spec)}, manifest, TARGET)}
        assert (found["spec.tolerations"].why, found["spec.tolerations"].missed) != ("", True)


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, 300.0),
        ({"capacityPolicy": "Promise"}, 900.0),
        ({"unschedulableSeconds": 60}, 60.0),
        ({"capacityPolicy": "Promise", "unschedulableSeconds": 60}, 60.0),
    ],
)
def test_pods_wait_longer_for_a_member_that_scales_itself(spec: Manifest, seconds: float) -> None:
    assert cluster(spec).spec.waits_for_a_place == seconds
