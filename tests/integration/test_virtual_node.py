"""The Node that represents a member: its offer, its labels and taints, and its lease."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests import members
from tests.cluster import Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import bare, wait_until_running
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import LEASES, NAMESPACES, NODES, PODS

CORES = 2 * 8  # of beta


@pytest.fixture
def served(parent: Cluster, beta: Cluster, provider: Provider) -> Iterator[None]:
    """`beta` is a member with labels, a taint and a cap."""
    taint = {"key": "team", "value": "blue", "effect": "PreferNoSchedule"}
    members.join(
        parent, "beta", members.kubeconfig(beta), labels={"tier": "edge"}, taints=[taint], capacity={"pods": "100"}
    )
    members.wait_until_served(parent, "beta")
    yield
    members.unjoin(parent, "beta")


def test_the_node_represents_the_member(parent: Cluster, beta: Cluster, served: None) -> None:
    node = parent.get(NODES, "beta")
    labels = node["metadata"]["labels"]
    assert labels[wellknown.CLUSTER_LABEL] == labels["kubernetes.io/hostname"] == "beta"
    assert (labels["type"], labels["kubernetes.io/os"], labels["tier"]) == ("virtual-kubelet", "linux", "edge")
    assert labels["topology.kubernetes.io/zone"] == "beta"
    eventually(lambda: taints(parent) == [{"key": "team", "value": "blue", "effect": "PreferNoSchedule"}], "one taint")
    assert node["status"]["nodeInfo"]["kubeletVersion"] == beta.call("GET", "/version")["gitVersion"]
    assert node["status"]["allocatable"]["pods"] == "100"
    assert (cpu(parent), node["status"]["allocatable"]["memory"]) == (CORES, "32Gi")


def test_a_new_node_is_ready_and_complete_from_the_first_moment(
    parent: Cluster, beta: Cluster, provider: Provider
) -> None:
    """A user who waits for the node can exec at once; and a cloud controller finds none that is not Ready."""
    before = parent.position(NODES)
    members.join(parent, "beta", members.kubeconfig(beta))
    members.wait_until_served(parent, "beta")
    versions = parent.history(NODES, "beta", before)
    assert {is_ready(node) for node in versions} == {True}
    assert all(node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] for node in versions)
    assert all(node["metadata"]["labels"][wellknown.CLUSTER_LABEL] == "beta" for node in versions)
    members.unjoin(parent, "beta")


def test_concurrent_writes_of_other_clients_to_the_node_cause_no_error(parent: Cluster, served: None) -> None:
    """The node controller taints every new Node at once."""
    assert members.event_reasons(parent, "beta") & {"Conflict", "NotFound", "Error"} == set()


def test_allocatable_follows_pods_of_other_clients_a_cordon_and_a_new_node(
    parent: Cluster, beta: Cluster, served: None
) -> None:
    eventually(lambda: cpu(parent) == CORES, "all CPUs are free")
    beta.create(NAMESPACES, {"metadata": {"name": "theirs"}})
    resources = {"requests": {"cpu": "3"}}
    foreign = bare("big", node="beta-1", containers=[{"name": "c", "image": "x", "resources": resources}])
    eventually(lambda: beta.ensure(PODS, foreign, "theirs"), "the other client's pod exists")
    eventually(lambda: cpu(parent) == CORES - 3, "the other client's pod is subtracted")
    beta.patch(NODES, "beta-1", {"spec": {"unschedulable": True}})
    eventually(lambda: cpu(parent) == 8, "neither the cordoned node nor its pods count")
    beta.patch(NODES, "beta-1", {"spec": {"unschedulable": None}})
    eventually(lambda: cpu(parent) == CORES - 3, "the node counts again")
    third = beta.get(NODES, "beta-2")
    metadata = {"name": "beta-3", "labels": {}, "annotations": third["metadata"]["annotations"]}
    beta.create(NODES, {"metadata": metadata, "status": third["status"]})
    eventually(lambda: cpu(parent) == CORES + 8 - 3, "the new node counts")
    beta.delete(NODES, "beta-3")
    beta.delete(PODS, "big", "theirs")
    eventually(lambda: cpu(parent) == CORES, "all CPUs are free again")
    beta.delete(NAMESPACES, "theirs")


def test_member_pods_do_not_reduce_allocatable(parent: Cluster, beta: Cluster, served: None, namespace: str) -> None:
    eventually(lambda: cpu(parent) == CORES, "all CPUs are free")
    resources = {"requests": {"cpu": "5"}}
    body = bare("ours", node="beta", containers=[{"name": "web", "image": "x", "resources": resources}])
    parent.create(PODS, body, namespace)
    wait_until_running(parent, "ours", namespace)
    beta.create(NAMESPACES, {"metadata": {"name": "theirs-too"}})
    one = {"requests": {"cpu": "1"}}
    foreign = bare("small", node="beta-1", containers=[{"name": "c", "image": "x", "resources": one}])
    eventually(lambda: beta.ensure(PODS, foreign, "theirs-too"), "the other client's pod exists")
    eventually(lambda: cpu(parent) != CORES, "the offer is computed again")
    assert cpu(parent) == CORES - 1
    beta.delete(NAMESPACES, "theirs-too")


def test_the_ownership_of_a_resource_survives_a_restart_of_the_provider(
    parent: Cluster, beta: Cluster, provider: Provider, served: None, namespace: str
) -> None:
    """Resources of other clients in the node's status stay, and resources that the member loses are removed."""
    size = {"cpu": "8", "memory": "16Gi", "pods": "10", "example.com/ours": "1"}
    ready = [{"type": "Ready", "status": "True", "reason": "Test", "message": ""}]
    status = {"allocatable": size, "capacity": size, "conditions": ready}
    beta.create(NODES, {"metadata": {"name": "beta-4"}, "status": status})
    eventually(lambda: "example.com/ours" in resources(parent), "the resource of the member is offered")
    theirs = {"example.com/theirs": "3"}
    parent.patch(NODES, "beta", {"status": {"capacity": theirs, "allocatable": theirs}}, subresource="status")
    provider.kill()
    beta.delete(NODES, "beta-4")
    provider.start()
    eventually(lambda: "example.com/ours" not in resources(parent), "the lost resource is removed")
    assert resources(parent)["example.com/theirs"] == "3"
    asked = {"cpu": "1", "example.com/theirs": "1", "example.com/ours": "1"}
    container = {"name": "web", "image": "x", "resources": {"requests": asked, "limits": asked}}
    parent.create(PODS, bare("web", node="beta", containers=[container]), namespace)
    eventually(lambda: beta.find(PODS, "web", namespace), "the member pod exists")
    made = beta.get(PODS, "web", namespace)
    assert set(made["spec"]["containers"][0]["resources"]["requests"]) == {"cpu", "example.com/ours"}


def test_the_lease_is_renewed(parent: Cluster, served: None) -> None:
    eventually(lambda: parent.find(LEASES, "beta", "kube-node-lease"), "the node has a lease")
    first = renew_time(parent)
    eventually(lambda: renew_time(parent) > first, "the lease is renewed")
    (owner,) = parent.get(LEASES, "beta", "kube-node-lease")["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("Node", parent.get(NODES, "beta")["metadata"]["uid"])


def test_labels_and_taints_follow_the_membercluster_and_keep_those_of_other_clients(
    parent: Cluster, served: None
) -> None:
    theirs = {"key": "theirs", "effect": "NoSchedule"}
    parent.patch(NODES, "beta", {"metadata": {"labels": {"of": "another-client"}}, "spec": {"unschedulable": True}})
    parent.patch(NODES, "beta", {"spec": {"taints": [*taints(parent), theirs]}})
    change = {"labels": {"tier": None, "size": "large"}, "taints": [{"key": "new", "effect": "NoSchedule"}]}
    parent.patch(MEMBER_CLUSTERS, "beta", {"spec": change})

    def followed() -> Json:
        node = parent.get(NODES, "beta")
        assert node["metadata"]["labels"].get("size") == "large", node["metadata"]["labels"]
        return node

    node = eventually(followed, "the node has the label")
    assert "tier" not in node["metadata"]["labels"]
    assert node["metadata"]["labels"]["of"] == "another-client"
    assert node["spec"]["unschedulable"] is True
    keys = {taint["key"] for taint in node["spec"]["taints"]}
    assert keys >= {"theirs", "new"}
    assert "team" not in keys


def test_a_deleted_node_is_recreated(parent: Cluster, served: None) -> None:
    old = parent.get(NODES, "beta")["metadata"]["uid"]
    parent.delete(NODES, "beta")

    def back() -> bool:
        node = parent.find(NODES, "beta")
        assert node, "the node does not exist"
        assert node["metadata"]["uid"] != old
        assert node["status"].get("allocatable", {}).get("cpu") == str(CORES), node["status"]
        lease = parent.find(LEASES, "beta", "kube-node-lease")
        assert lease, "the lease does not exist"
        assert lease["metadata"]["ownerReferences"][0]["uid"] == node["metadata"]["uid"], lease
        return True

    eventually(back, "the node is recreated", 90)


def taints(parent: Cluster) -> list[Json]:
    return list(parent.get(NODES, "beta")["spec"]["taints"])


def resources(parent: Cluster) -> Json:
    found: Json = parent.get(NODES, "beta")["status"].get("allocatable", {})
    return found


def is_ready(node: Json) -> bool:
    conditions = node["status"].get("conditions", ())
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def cpu(parent: Cluster) -> int:
    return int(parent.get(NODES, "beta")["status"]["allocatable"]["cpu"])


def renew_time(parent: Cluster) -> str:
    return str(parent.get(LEASES, "beta", "kube-node-lease")["spec"]["renewTime"])
