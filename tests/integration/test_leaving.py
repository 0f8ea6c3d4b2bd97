"""A member that leaves while its pods take long to stop: its node gets no new pods meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests import members
from tests.cluster import DEPLOYMENTS, Cluster, Json
from tests.integration.commands import CRD, Vk
from tests.integration.idle import idle_node
from tests.members import kubeconfig, wait_until_served
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import IDLE, bare, deployment, wait_until_running
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import CRDS, NODES, PODS, Resource

DAEMON_SETS: Final = Resource("apps", "v1", "daemonsets", "DaemonSet")


@pytest.fixture
def slow_beta(parent: Cluster, beta: Cluster, provider: Provider) -> Iterator[Cluster]:
    """A member whose pods stop only when the test deletes them."""
    with idle_node(beta, "slow"):
        members.join(parent, "beta", kubeconfig(beta))
        wait_until_served(parent, "beta")
        yield beta
        if parent.find(MEMBER_CLUSTERS, "beta"):
            members.discard(parent, "beta")


def test_pods_that_stop_slowly_are_replaced_once(parent: Cluster, slow_beta: Cluster, namespace: str) -> None:
    parent.create(DEPLOYMENTS, on_beta(deployment("web", 2)), namespace)
    first = eventually(lambda: in_member(slow_beta, namespace, 2), "two pods are in the member", 60)
    position = parent.audit_position()
    parent.delete(MEMBER_CLUSTERS, "beta")
    eventually(lambda: all(map(is_deleted, slow_beta.list(PODS, namespace))), "the pods are being deleted", 60)
    eventually(lambda: len(parent.list(PODS, namespace)) == 4, "both are replaced")
    node = parent.get(NODES, "beta")["spec"]
    assert node["unschedulable"]
    assert {"key": wellknown.LEAVING_TAINT, "effect": "NoExecute"}.items() <= leaving_taint(node).items()
    for name in first:
        slow_beta.delete(PODS, name, namespace, grace_seconds=0)
    eventually(lambda: parent.find(MEMBER_CLUSTERS, "beta") is None, "the member has left", 60)
    assert parent.find(NODES, "beta") is None
    rest = parent.list(PODS, namespace)
    assert [pod["spec"].get("nodeName") for pod in rest] == [None, None], "the replacements wait for another node"
    assert verbs(parent, position) == ["delete"], "the node is deleted once, and never created"


def test_a_daemonset_that_tolerates_everything_does_not_keep_a_member(
    parent: Cluster, slow_beta: Cluster, namespace: str
) -> None:
    manifest = on_beta(deployment("agent", 1))
    del manifest["spec"]["replicas"]
    manifest["spec"]["template"]["spec"]["tolerations"] = [{"operator": "Exists"}]
    parent.create(DAEMON_SETS, manifest, namespace)
    (first,) = eventually(lambda: in_member(slow_beta, namespace, 1), "its pod is in the member", 60)
    parent.delete(MEMBER_CLUSTERS, "beta")
    eventually(lambda: is_deleted(slow_beta.get(PODS, first, namespace)), "its pod is being deleted", 60)
    slow_beta.delete(PODS, first, namespace, grace_seconds=0)
    eventually(lambda: parent.find(MEMBER_CLUSTERS, "beta") is None, "the member has left", 60)
    assert parent.find(NODES, "beta") is None
    assert slow_beta.list(PODS, namespace) == []


def test_the_deletion_of_the_definition_lets_every_member_leave(
    home: Cluster, vk: Vk, west: str, alpha: Cluster, start_provider: Callable[[Path], Provider]
) -> None:
    vk("join", "west", "--kubeconfig", west, "--no-wait")
    provider = start_provider(home.kubeconfig)
    wait_until_served(home, "west", 60)
    home.create(PODS, bare("one", node="west"), "default")
    wait_until_running(home, "one", "default")
    position = home.audit_position()
    home.delete(CRDS, CRD)
    eventually(lambda: home.find(CRDS, CRD) is None, "every member has left", 90)
    assert home.find(NODES, "west") is None
    assert home.find(PODS, "one", "default") is None
    assert members.remains(alpha, "west") == set()
    assert vk("join", "west", "--kubeconfig", west, "--wait", "--timeout", "60").exit_code == 0
    assert verbs(home, position) == ["delete", "create"], "the node is back when it is wanted, and not before"
    assert not provider.crashed


def on_beta(manifest: Json) -> Json:
    """The workload runs on virtual node `beta` and its slow node."""
    spec = manifest["spec"]["template"]["spec"]
    spec["nodeSelector"] = {wellknown.CLUSTER_LABEL: "beta"}
    spec["containers"][0]["resources"] = {"requests": {IDLE: "1"}, "limits": {IDLE: "1"}}
    return manifest


def in_member(member: Cluster, namespace: str, number: int) -> list[str]:
    """The names of the pods that are bound in the member. Empty until there are `number` pods."""
    found = [pod["metadata"]["name"] for pod in member.list(PODS, namespace) if pod["spec"].get("nodeName")]
    return found if len(found) == number else []


def is_deleted(pod: Json) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def leaving_taint(node: Json) -> Json:
    found: Json = next(taint for taint in node["taints"] if taint["key"] == wellknown.LEAVING_TAINT)
    return found


def verbs(parent: Cluster, since: int) -> list[str]:
    """The provider's requests that create or delete Nodes."""
    return [
        request.verb
        for request in parent.requests(since)
        if request.agent == "vk-provider" and request.resource == "nodes" and request.verb in ("create", "delete")
    ]
