"""The Node of a member under the hands of others: deleted, edited, declared wrongly; and how often it is written."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest

from tests import members
from tests.cluster import ApiFailure, Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import NODES

TAINT: Final = {"key": "tests.example/gpu", "value": "present", "effect": "NoSchedule"}
MINUTE: Final = 60.0  # seconds


@pytest.fixture
def served(parent: Cluster, beta: Cluster, provider: Provider) -> Iterator[None]:
    """`beta` is a member with a label, a taint and a provider ID."""
    taint = {"key": "team", "value": "blue", "effect": "PreferNoSchedule"}
    spec = {"labels": {"tier": "edge"}, "taints": [taint], "providerID": "vk-provider://beta"}
    members.join(parent, "beta", members.kubeconfig(beta), **spec)
    members.wait_until_served(parent, "beta", 60)
    yield
    members.unjoin(parent, "beta", 60)


@pytest.mark.parametrize(
    "spec",
    [
        {"labels": {"a b": "c"}},
        {"labels": {"UPPER.example/a": "c"}},
        {"taints": [{"key": "a b", "effect": "NoSchedule"}]},
        {"taints": [{"key": "a", "value": "b c", "effect": "NoSchedule"}]},
        {"capacity": {"cpu": "1e1.5"}},
        {"capacity": {"cpu": "1e1000"}},
        {"capacity": {"a b": 1}},
        {"capacityPolicy": "Elastic"},
        {"labelKeys": ["node-restriction.kubernetes.io/a"]},
        {"labelKeys": ["*"]},
        {"tolerations": [{"value": "a"}]},
        {"providerID": "vk-provider://another"},
        {"providerID": None},
    ],
)
def test_what_a_node_cannot_have_is_refused_by_the_definition(parent: Cluster, served: None, spec: Json) -> None:
    with pytest.raises(ApiFailure) as refused:
        parent.patch(MEMBER_CLUSTERS, "beta", {"spec": spec})
    assert refused.value.status == 422


def test_what_a_node_can_have_is_accepted(parent: Cluster, served: None) -> None:
    spec = {
        "labels": {"tier": "edge", "example.com/a_b.c": "1"},
        "labelKeys": ["mine", "example.com/*"],
        "tolerations": [{"key": "spot", "operator": "Exists", "addTo": "All"}, {"operator": "Exists"}],
        "capacity": {"cpu": 1000, "memory": "1.5Ti", "example.com/gpu": "2e3"},
    }
    parent.patch(MEMBER_CLUSTERS, "beta", {"spec": spec})
    assert parent.get(MEMBER_CLUSTERS, "beta")["spec"]["tolerations"][1]["addTo"] == "ExtendedResources"


def test_a_node_that_is_deleted_is_back_at_once_and_complete(parent: Cluster, served: None) -> None:
    for _ in range(3):
        before, position = parent.get(NODES, "beta"), parent.position(NODES)
        parent.delete(NODES, "beta")
        eventually(lambda it=before: another(parent, it), "the node is back", 5)  # type: ignore[misc]
        versions = [node for node in parent.history(NODES, "beta", position) if another_than(node, before)]
        assert all(ready(node) == "True" for node in versions)
        node = versions[0]
        assert node["metadata"]["labels"]["tier"] == "edge"
        assert node["spec"]["providerID"] == "vk-provider://beta"
        assert "team" in {taint["key"] for taint in node["spec"]["taints"]}
        assert node["status"]["allocatable"] == before["status"]["allocatable"]


def test_labels_and_taints_of_the_provider_are_restored(parent: Cluster, served: None) -> None:
    labels = {"tier": "core", wellknown.CLUSTER_LABEL: None, "theirs": "yes"}
    parent.patch(NODES, "beta", {"metadata": {"labels": labels}, "spec": {"taints": [TAINT]}})

    def restored() -> bool:
        node = parent.get(NODES, "beta")
        found = node["metadata"]["labels"]
        assert (found["tier"], found.get(wellknown.CLUSTER_LABEL), found["theirs"]) == ("edge", "beta", "yes"), found
        assert {taint["key"] for taint in node["spec"]["taints"]} == {TAINT["key"], "team"}, node["spec"]
        return True

    eventually(restored, "labels and taints are restored", 10)


def test_an_idle_node_is_written_at_most_eight_times_a_minute(parent: Cluster, beta: Cluster, served: None) -> None:
    eventually(lambda: ready(parent.get(NODES, "beta")) == "True", "the node is ready")
    position, numbers, end = parent.audit_position(), iter(range(10_000)), time.monotonic() + MINUTE

    def a_minute_of_changes() -> bool:
        """Other clients annotate the nodes of the member all the time."""
        beta.patch(NODES, "beta-1", {"metadata": {"annotations": {"tests.example/beat": str(next(numbers))}}})
        return time.monotonic() > end

    eventually(a_minute_of_changes, "the end of the minute", 2 * MINUTE)
    written = Counter(
        (request.resource, request.subresource)
        for request in parent.requests(position)
        if request.name == "beta" and request.agent == "vk-provider" and request.verb in ("patch", "update", "create")
    )
    assert written[("nodes", "status")] <= 2, written
    assert written.total() <= 8 + 1, written


def test_a_taint_that_all_nodes_of_the_member_share_is_shown_after_a_minute(
    parent: Cluster, beta: Cluster, served: None
) -> None:
    offered = parent.get(NODES, "beta")["status"]["allocatable"]["cpu"]
    try:
        for name in ("beta-1", "beta-2"):
            beta.patch(NODES, name, {"spec": {"taints": [TAINT]}})
        eventually(lambda: cpu(parent) == "0", "nothing is offered at first", 15)
        eventually(lambda: TAINT in parent.get(NODES, "beta")["spec"]["taints"], "the taint is shown", 90)
        eventually(lambda: cpu(parent) == offered, "what pods with a toleration can use is offered", 60)
        assert ready(parent.get(NODES, "beta")) == "True"
    finally:
        for name in ("beta-1", "beta-2"):
            beta.patch(NODES, name, {"spec": {"taints": None}})
    eventually(lambda: TAINT not in parent.get(NODES, "beta")["spec"]["taints"], "it is no longer shown", 15)


def another(parent: Cluster, before: Json) -> bool:
    node = parent.find(NODES, "beta")
    return node is not None and another_than(node, before)


def another_than(node: Json, before: Json) -> bool:
    return bool(node["metadata"]["uid"] != before["metadata"]["uid"])


def ready(node: Json) -> str:
    conditions = node.get("status", {}).get("conditions", ())
    return next((str(each["status"]) for each in conditions if each["type"] == "Ready"), "")


def cpu(parent: Cluster) -> str:
    return str(parent.get(NODES, "beta")["status"]["allocatable"].get("cpu"))
