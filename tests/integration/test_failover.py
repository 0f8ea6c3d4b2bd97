"""A member is lost and returns: pods move, stay or are held, and none runs twice if it must not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests import members
from tests.cluster import DEPLOYMENTS, Cluster, Json
from tests.command_line import vk
from tests.integration.lost_members import (
    HEALTH,
    NOT_READY,
    PATIENCE,
    STATEFUL_SETS,
    UNREACHABLE,
    deleted,
    kubeconfig_over,
    node_ready,
    pod_ready,
    port,
    rather_on,
    reachable,
    ready_again,
    renewed,
    returned,
    seconds_of,
    stateful_set,
    taints,
    tolerating,
    wait_until,
    wait_until_clean,
)
from tests.link import Link
from tests.members import event_reasons
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    deployment,
    idle,
    phase,
    restart_count,
    running_pods,
    set_status,
    start_idle,
    wait_until_gone,
    wait_until_running,
)
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import NAMESPACES, NODES, PODS


@pytest.fixture
def links(parent: Cluster, alpha: Cluster, beta: Cluster, provider: Provider) -> Iterator[dict[str, Link]]:
    """`alpha` and `beta` are members with short thresholds and separate links, which can be cut."""
    with ExitStack() as stack:
        links = {cluster.name: stack.enter_context(Link(cluster)) for cluster in (alpha, beta)}
        before = port(parent, "alpha")
        members.set_kubeconfig(parent, "alpha", kubeconfig_over(links["alpha"]))
        eventually(lambda: port(parent, "alpha") not in (0, before), "alpha is served over the link", PATIENCE)
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": HEALTH}})
        members.join(parent, "beta", kubeconfig_over(links["beta"]), health=HEALTH)
        for name in links:
            wait_until(parent, name, "Healthy")
            members.wait_until_served(parent, name, PATIENCE)
            wait_until_clean(parent, name)
        yield links
        for link in links.values():
            link.heal()
        provider.start()
        for name in links:
            wait_until(parent, name, "Healthy")
        members.unjoin(parent, "beta", PATIENCE)
        before = port(parent, "alpha")
        members.set_kubeconfig(parent, "alpha", members.kubeconfig(alpha))
        eventually(lambda: port(parent, "alpha") not in (0, before), "alpha is served directly again", PATIENCE)
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": None}})
        members.wait_until_served(parent, "alpha", PATIENCE)


def test_pods_of_a_lost_member_move_and_the_others_become_ready_when_it_returns(
    parent: Cluster, alpha: Cluster, beta: Cluster, links: dict[str, Link], namespace: str
) -> None:
    parent.create(PODS, bare("stays"), namespace)
    stays = wait_until_running(parent, "stays", namespace, PATIENCE)
    container = wait_until_running(alpha, "stays", namespace)
    parent.create(DEPLOYMENTS, rather_on("alpha", deployment("web", 2)), namespace)
    eventually(lambda: len(running_pods(alpha, namespace)) == 3, "all pods run in alpha", PATIENCE)
    moved = {pod["metadata"]["uid"] for pod in parent.list(PODS, namespace, labels="app=web")}

    links["alpha"].fault("black hole")
    wait_until(parent, "alpha", "Suspect")
    eventually(lambda: wellknown.SUSPECT_TAINT in taints(parent, "alpha"), "the node has the suspect taint")
    assert node_ready(parent, "alpha")["status"] == "True", "a suspect member keeps its pods"
    wait_until(parent, "alpha", "Lost")
    eventually(lambda: node_ready(parent, "alpha")["reason"] == "MemberUnreachable", "the node is not Ready")
    eventually(
        lambda: pod_ready(parent.get(PODS, "stays", namespace)) == ("False", wellknown.MEMBER_LOST),
        "the pod is not Ready",
    )
    eventually(lambda: NOT_READY in taints(parent, "alpha"), "Kubernetes taints the node", PATIENCE)
    eventually(lambda: len(running_pods(beta, namespace)) == 2, "pods without a toleration run in beta", PATIENCE)
    assert len(running_pods(alpha, namespace)) == 3, "alpha cannot know of the deletion"

    links["alpha"].heal()
    seen = eventually(returned(parent, alpha, namespace), "the member returns", PATIENCE)
    assert seen == {"stays"}, "replaced pods are deleted before the node is Ready"
    eventually(lambda: wellknown.SUSPECT_TAINT not in taints(parent, "alpha"), "the taint is removed")
    back = eventually(
        lambda: ready_again(parent.get(PODS, "stays", namespace)), "the pod that stayed is ready again", PATIENCE
    )
    assert (back["metadata"]["uid"], restart_count(back)) == (stays["metadata"]["uid"], 0)
    assert alpha.get(PODS, "stays", namespace)["metadata"]["uid"] == container["metadata"]["uid"]
    eventually(
        lambda: not moved & {pod["metadata"]["uid"] for pod in parent.list(PODS, namespace)}, "the old pods are deleted"
    )
    reasons = event_reasons(parent, "alpha")
    assert {"Suspect", "Lost", "Returning", "Healthy", "MemberLost", "MemberReturning"} <= reasons, reasons


def test_no_member_is_declared_lost_if_all_stop_answering_together_unless_it_is_fenced(
    parent: Cluster, alpha: Cluster, links: dict[str, Link], namespace: str
) -> None:
    parent.create(PODS, bare("web", tolerations=tolerating(0)), namespace)
    wait_until_running(parent, "web", namespace, PATIENCE)
    for link in links.values():
        link.fault("black hole")
    for name in links:
        wait_until(parent, name, wellknown.FROZEN)
        assert "fell silent together" in reachable(parent, name)["message"]
    renewed(parent, "alpha", 10)  # in 10 s, twice the time after which a member is lost
    for name in links:
        assert reachable(parent, name)["reason"] == wellknown.FROZEN
        assert node_ready(parent, name)["status"] == "True"
    assert "deletionTimestamp" not in parent.get(PODS, "web", namespace)["metadata"]
    assert vk("--kubeconfig", str(parent.kubeconfig), "fence", "alpha", "--confirmed-down").exit_code == 0
    wait_until(parent, "alpha", "Lost")
    assert reachable(parent, "beta")["reason"] == wellknown.FROZEN
    wait_until_gone(parent, "web", namespace, PATIENCE)
    for link in links.values():
        link.heal()
    for name in links:
        wait_until(parent, name, "Healthy")
    wait_until_gone(alpha, "web", namespace, PATIENCE)
    assert wellknown.OUT_OF_SERVICE_TAINT not in taints(parent, "alpha")
    assert wellknown.FENCED not in parent.get(MEMBER_CLUSTERS, "alpha")["metadata"].get("annotations", {})


def test_a_pod_that_must_run_at_most_once_waits_for_a_fence(
    parent: Cluster, alpha: Cluster, beta: Cluster, links: dict[str, Link], namespace: str
) -> None:
    parent.create(STATEFUL_SETS, rather_on("alpha", stateful_set("db")), namespace)
    first = wait_until_running(parent, "db-0", namespace, PATIENCE)["metadata"]["uid"]
    links["alpha"].fault("black hole")
    wait_until(parent, "alpha", "Lost")
    eventually(
        lambda: "deletionTimestamp" in parent.get(PODS, "db-0", namespace)["metadata"], "the pod is evicted", PATIENCE
    )
    refused = vk("--kubeconfig", str(parent.kubeconfig), "fence", "beta", "--confirmed-down")
    assert (refused.exit_code, "beta answers" in refused.stderr) == (1, True)
    assert parent.get(PODS, "db-0", namespace)["metadata"]["uid"] == first, "the pod is not deleted without a fence"
    assert vk("--kubeconfig", str(parent.kubeconfig), "fence", "alpha", "--confirmed-down").exit_code == 0
    eventually(lambda: phase(beta, "db-0", namespace) == "Running", "the next pod runs in beta", PATIENCE)
    links["alpha"].heal()
    wait_until(parent, "alpha", "Healthy")
    assert wellknown.OUT_OF_SERVICE_TAINT not in taints(parent, "alpha")
    assert deleted(alpha, "db-0", namespace), "the old pod is deleted before the node is Ready"


def test_the_end_of_a_pod_in_a_lost_member_is_reported_before_the_node_is_ready(
    parent: Cluster, alpha: Cluster, links: dict[str, Link], namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("once", restartPolicy="Never"), namespace)
    start_idle(alpha, "once", namespace)
    wait_until_running(parent, "once", namespace, PATIENCE)
    links["alpha"].fault("black hole")
    wait_until(parent, "alpha", "Lost")
    ended = {"exitCode": 0, "startedAt": "2030-01-01T00:00:00Z", "finishedAt": "2030-01-01T00:00:01Z"}
    set_status(
        alpha, "once", namespace, phase="Succeeded", containerStatuses=[{"name": "web", "state": {"terminated": ended}}]
    )
    links["alpha"].heal()

    def back() -> str:
        assert node_ready(parent, "alpha")["status"] == "True", node_ready(parent, "alpha")
        return phase(parent, "once", namespace)

    assert eventually(back, "the node is Ready", PATIENCE) == "Succeeded"


def test_a_pod_with_hold_stays_bound_to_a_lost_member_if_it_fits_no_other_node(
    parent: Cluster, alpha: Cluster, links: dict[str, Link], namespace: str
) -> None:
    only = {wellknown.CLUSTER_LABEL: "alpha"}
    for name, selector in (("kept", only), ("moves", {"kubernetes.io/os": "linux"})):
        manifest = bare(name, tolerations=tolerating(0), nodeSelector=selector)
        manifest["metadata"]["annotations"] = {wellknown.ON_LOST: "Hold"}
        parent.create(PODS, manifest, namespace)
        wait_until_running(parent, name, namespace, PATIENCE)
    uid = alpha.get(PODS, "kept", namespace)["metadata"]["uid"]
    links["alpha"].fault("black hole")
    wait_until(parent, "alpha", "Lost")
    eventually(
        lambda: "deletionTimestamp" in parent.get(PODS, "moves", namespace)["metadata"],
        "the other pod is evicted",
        PATIENCE,
    )
    kept = parent.get(PODS, "kept", namespace)
    assert "deletionTimestamp" not in kept["metadata"]
    assert seconds_of(kept) == {NOT_READY: None, UNREACHABLE: None}
    eventually(lambda: wellknown.POD_HELD in event_reasons(parent, "kept", namespace), "an Event has the reason")
    links["alpha"].heal()
    wait_until(parent, "alpha", "Healthy")
    eventually(
        lambda: seconds_of(parent.get(PODS, "kept", namespace)) == {NOT_READY: 0, UNREACHABLE: 0},
        "its tolerations are restored",
        PATIENCE,
    )
    eventually(lambda: ready_again(parent.get(PODS, "kept", namespace)), "the pod is ready", PATIENCE)
    assert alpha.get(PODS, "kept", namespace)["metadata"]["uid"] == uid


def test_a_restarted_provider_removes_the_suspect_taint_of_its_predecessor(
    parent: Cluster, links: dict[str, Link], provider: Provider
) -> None:
    links["alpha"].fault("black hole")
    eventually(lambda: wellknown.SUSPECT_TAINT in taints(parent, "alpha"), "the member is suspect", PATIENCE)
    provider.kill()
    links["alpha"].heal()
    provider.start()
    eventually(lambda: wellknown.SUSPECT_TAINT not in taints(parent, "alpha"), "the taint is removed", PATIENCE)
    wait_until(parent, "alpha", "Healthy")


def test_a_provider_that_starts_while_no_member_answers_renews_their_leases(
    parent: Cluster, links: dict[str, Link], provider: Provider
) -> None:
    """Without the leases, Kubernetes would declare the nodes unreachable after 50 s and evict their pods."""
    provider.kill()
    for link in links.values():
        link.fault("black hole")
    position = parent.audit_position()
    provider.start()
    renewed(parent, "alpha", 1, since=position)
    renewed(parent, "beta", 1, since=position)
    for name in links:
        assert node_ready(parent, name)["status"] == "True"


def test_a_lost_member_with_a_pod_that_must_run_at_most_once_leaves_only_after_a_fence(
    parent: Cluster, beta: Cluster, provider: Provider, namespace: str
) -> None:
    with Link(beta) as link:
        members.join(parent, "gone", kubeconfig_over(link), health=HEALTH)
        members.wait_until_served(parent, "gone", PATIENCE)
        wait_until_clean(parent, "gone")
        parent.create(STATEFUL_SETS, rather_on("gone", stateful_set("db")), namespace)
        wait_until_running(parent, "db-0", namespace, PATIENCE)
        assert parent.get(PODS, "db-0", namespace)["spec"]["nodeName"] == "gone"
        link.fault("black hole")
        wait_until(parent, "gone", "Lost")
        parent.delete(MEMBER_CLUSTERS, "gone")
        eventually(
            lambda: members.ready_condition(parent, "gone")["reason"] == wellknown.FENCE_NEEDED,
            "the condition has the reason",
            PATIENCE,
        )
        assert parent.find(NODES, "gone"), "without the node, Kubernetes would delete the pod by force"
        assert phase(beta, "db-0", namespace) == "Running"
        fenced = vk("--kubeconfig", str(parent.kubeconfig), "fence", "gone", "--confirmed-down")
        assert fenced.exit_code == 0, fenced.stderr
        eventually(lambda: parent.find(MEMBER_CLUSTERS, "gone") is None, "the MemberCluster is deleted", PATIENCE)
        assert parent.find(NODES, "gone") is None
    beta.delete(NAMESPACES, namespace)  # the provider can no longer clean up there
