"""A member falls silent and comes back: what moves, what stays, what is said, and what is never done twice."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Final

import pytest

from tests import members
from tests.cluster import DEPLOYMENTS, ApiFailure, Cluster, Json
from tests.command_line import vk
from tests.integration.connecting import client_through
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
from vk_provider.errors import ConfigError
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, NODES, PODS, SERVICES, Resource
from vk_provider.sync.membership.access import identify

STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
# Slow enough for a busy machine, and quick enough for a test.
HEALTH: Final = {"probeSeconds": 1, "lostAfterSeconds": 5, "returnAfterSeconds": 2, "secondLookSeconds": 4}
PATIENCE: Final = 90.0
NOT_READY: Final = "node.kubernetes.io/not-ready"
UNREACHABLE: Final = "node.kubernetes.io/unreachable"


def by_way_of(link: Link) -> str:
    """The kubeconfig of the provider's account in a member, led over the link."""
    return json.dumps(link.through(json.loads(members.kubeconfig(link.cluster))))


@pytest.fixture
def links(parent: Cluster, alpha: Cluster, beta: Cluster, provider: Provider) -> Iterator[dict[str, Link]]:
    """`alpha` and `beta` are members that can be cut off one by one, with quick thresholds."""
    with ExitStack() as stack:
        links = {cluster.name: stack.enter_context(Link(cluster)) for cluster in (alpha, beta)}
        before = port(parent, "alpha")
        members.set_kubeconfig(parent, "alpha", by_way_of(links["alpha"]))
        eventually(lambda: port(parent, "alpha") not in (0, before), "alpha is served by way of the link", PATIENCE)
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": HEALTH}})
        members.join(parent, "beta", by_way_of(links["beta"]), health=HEALTH)
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


def test_a_lost_member_gives_its_pods_away_and_takes_back_those_that_stayed(
    parent: Cluster, alpha: Cluster, beta: Cluster, links: dict[str, Link], namespace: str
) -> None:
    parent.create(PODS, bare("stays"), namespace)
    stays = wait_until_running(parent, "stays", namespace, PATIENCE)
    container = wait_until_running(alpha, "stays", namespace)
    parent.create(DEPLOYMENTS, rather_on("alpha", deployment("web", 2)), namespace)
    eventually(lambda: len(running_pods(alpha, namespace)) == 3, "all run in alpha", PATIENCE)
    moved = {pod["metadata"]["uid"] for pod in parent.list(PODS, namespace, labels="app=web")}

    links["alpha"].fault("black hole")
    wait_until(parent, "alpha", "Suspect")
    eventually(lambda: wellknown.SUSPECT_TAINT in taints(parent, "alpha"), "no new pods are sent there")
    assert node_ready(parent, "alpha")["status"] == "True", "suspicion alone evicts nobody"
    wait_until(parent, "alpha", "Lost")
    eventually(lambda: node_ready(parent, "alpha")["reason"] == "MemberUnreachable", "its node is not Ready")
    eventually(
        lambda: pod_ready(parent.get(PODS, "stays", namespace)) == ("False", wellknown.MEMBER_LOST), "nor are its pods"
    )
    eventually(lambda: NOT_READY in taints(parent, "alpha"), "Kubernetes taints the node", PATIENCE)
    eventually(lambda: len(running_pods(beta, namespace)) == 2, "what does not tolerate that runs in beta", PATIENCE)
    assert len(running_pods(alpha, namespace)) == 3, "nobody can have told alpha"

    links["alpha"].heal()
    seen = eventually(returned(parent, alpha, namespace), "it comes back", PATIENCE)
    assert seen == {"stays"}, "what was replaced goes before the node is Ready"
    eventually(lambda: wellknown.SUSPECT_TAINT not in taints(parent, "alpha"), "the taint is taken off")
    back = eventually(lambda: ready_again(parent.get(PODS, "stays", namespace)), "what stayed is ready again", PATIENCE)
    assert (back["metadata"]["uid"], restart_count(back)) == (stays["metadata"]["uid"], 0)
    assert alpha.get(PODS, "stays", namespace)["metadata"]["uid"] == container["metadata"]["uid"]
    eventually(
        lambda: not moved & {pod["metadata"]["uid"] for pod in parent.list(PODS, namespace)}, "the old ones are gone"
    )
    reasons = event_reasons(parent, "alpha")
    assert {"Suspect", "Lost", "Returning", "Healthy", "MemberLost", "MemberReturning"} <= reasons, reasons


def test_when_all_members_fall_silent_together_nothing_is_declared_lost_unless_somebody_states_it(
    parent: Cluster, alpha: Cluster, links: dict[str, Link], namespace: str
) -> None:
    parent.create(PODS, bare("web", tolerations=tolerating(0)), namespace)
    wait_until_running(parent, "web", namespace, PATIENCE)
    for link in links.values():
        link.fault("black hole")
    for name in links:
        wait_until(parent, name, wellknown.FROZEN)
        assert "fell silent together" in reachable(parent, name)["message"]
    renewed(parent, "alpha", 10)  # in 10 s, which is twice as long as it takes to lose one
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
        lambda: "deletionTimestamp" in parent.get(PODS, "db-0", namespace)["metadata"], "it is evicted", PATIENCE
    )
    refused = vk("--kubeconfig", str(parent.kubeconfig), "fence", "beta", "--confirmed-down")
    assert (refused.exit_code, "beta answers" in refused.stderr) == (1, True)
    assert parent.get(PODS, "db-0", namespace)["metadata"]["uid"] == first, "no timer lets it go"
    assert vk("--kubeconfig", str(parent.kubeconfig), "fence", "alpha", "--confirmed-down").exit_code == 0
    eventually(lambda: phase(beta, "db-0", namespace) == "Running", "the next one runs in beta", PATIENCE)
    links["alpha"].heal()
    wait_until(parent, "alpha", "Healthy")
    assert wellknown.OUT_OF_SERVICE_TAINT not in taints(parent, "alpha")
    assert deleted(alpha, "db-0", namespace), "the old one goes before the node is Ready"


def test_a_pod_that_ended_while_nobody_could_see_it_is_reported_before_the_node_is_ready(
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


def test_a_pod_that_asks_for_it_is_kept_where_nothing_else_could_hold_it(
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
        "the other is evicted",
        PATIENCE,
    )
    kept = parent.get(PODS, "kept", namespace)
    assert "deletionTimestamp" not in kept["metadata"]
    assert seconds_of(kept) == {NOT_READY: None, UNREACHABLE: None}
    eventually(lambda: wellknown.POD_HELD in event_reasons(parent, "kept", namespace), "an Event says so")
    links["alpha"].heal()
    wait_until(parent, "alpha", "Healthy")
    eventually(
        lambda: seconds_of(parent.get(PODS, "kept", namespace)) == {NOT_READY: 0, UNREACHABLE: 0},
        "it tolerates as little as before",
        PATIENCE,
    )
    eventually(lambda: ready_again(parent.get(PODS, "kept", namespace)), "it is ready", PATIENCE)
    assert alpha.get(PODS, "kept", namespace)["metadata"]["uid"] == uid


def test_a_restarted_provider_takes_back_what_the_one_before_it_suspected(
    parent: Cluster, links: dict[str, Link], provider: Provider
) -> None:
    links["alpha"].fault("black hole")
    eventually(lambda: wellknown.SUSPECT_TAINT in taints(parent, "alpha"), "it is suspect", PATIENCE)
    provider.kill()
    links["alpha"].heal()
    provider.start()
    eventually(lambda: wellknown.SUSPECT_TAINT not in taints(parent, "alpha"), "the taint is taken off", PATIENCE)
    wait_until(parent, "alpha", "Healthy")


def test_a_provider_that_starts_while_all_members_are_silent_keeps_their_leases(
    parent: Cluster, links: dict[str, Link], provider: Provider
) -> None:
    """Kubernetes would give up their nodes after 50 s, and nobody could tell it that the network is to blame."""
    provider.kill()
    for link in links.values():
        link.fault("black hole")
    position = parent.audit_position()
    provider.start()
    renewed(parent, "alpha", 1, since=position)
    renewed(parent, "beta", 1, since=position)
    for name in links:
        assert node_ready(parent, name)["status"] == "True"


class TestManyOrphans:
    @pytest.fixture
    def forgotten(self, parent: Cluster, alpha: Cluster, provider: Provider, namespace: str) -> Iterator[str]:
        """The parent has lost more than half of the pods while the provider was away."""
        names = [f"web-{number}" for number in range(14)]
        parent.create(CONFIG_MAPS, {"metadata": {"name": "settings"}}, namespace)
        parent.create(SERVICES, {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}]}}, namespace)
        volumes = [{"name": "settings", "configMap": {"name": "settings"}}]
        for name in names:
            parent.create(PODS, bare(name, volumes=volumes if name in names[:12] else None), namespace)
        eventually(lambda: len(running_pods(parent, namespace)) == len(names), "all run", PATIENCE)
        eventually(lambda: alpha.find(SERVICES, "web", namespace), "their Service is there")
        provider.kill()
        for name in names[:12]:
            parent.delete(PODS, name, namespace, grace_seconds=0)
        parent.delete(SERVICES, "web", namespace)
        yield namespace
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": None}})

    def test_are_kept_at_the_start_of_a_provider_until_somebody_confirms(
        self, parent: Cluster, alpha: Cluster, provider: Provider, forgotten: str
    ) -> None:
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": {"secondLookSeconds": 1}}})
        provider.start()
        held = eventually(lambda: condition(parent, "alpha", wellknown.ORPHANS_HELD, "True"), "they are held", PATIENCE)
        assert "does not know 12 of the" in held["message"], "pods of the test before may still be leaving"
        eventually(lambda: wellknown.TOO_MANY_ORPHANS in event_reasons(parent, "alpha"), "an Event says so")
        parent.create(PODS, bare("new"), forgotten)
        wait_until_running(parent, "new", forgotten, PATIENCE)
        assert len(running_pods(alpha, forgotten)) == 15
        assert alpha.find(CONFIG_MAPS, "settings", forgotten), "what they may need stays too"
        assert alpha.find(SERVICES, "web", forgotten), "and so do their Services"
        assert vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha").exit_code == 0
        eventually(lambda: set(running_pods(alpha, forgotten)) == {"web-12", "web-13", "new"}, "they go", PATIENCE)
        eventually(lambda: condition(parent, "alpha", wellknown.ORPHANS_HELD, "False"), "nothing is held any more")
        eventually(lambda: alpha.find(CONFIG_MAPS, "settings", forgotten) is None, "nor is what they needed")
        eventually(lambda: alpha.find(SERVICES, "web", forgotten) is None, "nor are their Services")
        eventually(
            lambda: wellknown.CONFIRM not in parent.get(MEMBER_CLUSTERS, "alpha")["metadata"].get("annotations", {}),
            "the confirmation is used up",
        )
        again = vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha")
        assert (again.exit_code, "holds no orphans" in again.stderr) == (1, True)


def test_another_cluster_under_the_name_of_a_member_is_refused_until_somebody_confirms(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace, PATIENCE)
    member_pod = alpha.get(PODS, "web", namespace)["metadata"]["uid"]
    provider.kill()
    real = parent.get(MEMBER_CLUSTERS, "alpha")["status"]["clusterUid"]
    parent.patch(MEMBER_CLUSTERS, "alpha", {"status": {"clusterUid": "of-another"}}, subresource="status")
    provider.start()
    message = members.wait_until_refused(parent, "alpha", wellknown.CLUSTER_UID_CHANGED)
    assert "vk-provider confirm alpha --new-cluster" in message
    assert real in message
    assert vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha", "--new-cluster").exit_code == 0
    members.wait_until_served(parent, "alpha", PATIENCE)
    assert parent.get(MEMBER_CLUSTERS, "alpha")["status"]["clusterUid"] == real
    eventually(
        lambda: wellknown.CONFIRM not in parent.get(MEMBER_CLUSTERS, "alpha")["metadata"].get("annotations", {}),
        "the confirmation is used up",
    )
    assert alpha.get(PODS, "web", namespace)["metadata"]["uid"] == member_pod
    again = vk("--kubeconfig", str(parent.kubeconfig), "confirm", "alpha", "--new-cluster")
    assert again.exit_code == 1
    assert "nothing to confirm" in again.stderr


def test_a_lost_member_with_a_pod_that_must_run_at_most_once_leaves_only_when_it_is_fenced(
    parent: Cluster, beta: Cluster, provider: Provider, namespace: str
) -> None:
    with Link(beta) as link:
        members.join(parent, "gone", by_way_of(link), health=HEALTH)
        members.wait_until_served(parent, "gone", PATIENCE)
        wait_until_clean(parent, "gone")
        parent.create(STATEFUL_SETS, rather_on("gone", stateful_set("db")), namespace)
        wait_until_running(parent, "db-0", namespace, PATIENCE)
        assert parent.get(PODS, "db-0", namespace)["spec"]["nodeName"] == "gone"
        link.fault("black hole")
        wait_until(parent, "gone", "Lost")
        parent.delete(MEMBER_CLUSTERS, "gone")
        eventually(
            lambda: members.ready_condition(parent, "gone")["reason"] == wellknown.FENCE_NEEDED, "it says why", PATIENCE
        )
        assert parent.find(NODES, "gone"), "without it Kubernetes would remove the pod by force"
        assert phase(beta, "db-0", namespace) == "Running"
        fenced = vk("--kubeconfig", str(parent.kubeconfig), "fence", "gone", "--confirmed-down")
        assert fenced.exit_code == 0, fenced.stderr
        eventually(lambda: parent.find(MEMBER_CLUSTERS, "gone") is None, "it is gone", PATIENCE)
        assert parent.find(NODES, "gone") is None
    beta.delete(NAMESPACES, namespace)  # the provider cannot clean up there any more


async def test_a_probe_notices_that_another_cluster_answers(alpha: Cluster) -> None:
    async with client_through(alpha, None) as client:
        real = alpha.get(NAMESPACES, "kube-system")["metadata"]["uid"]
        await identify(client, real, member="west", deadline=10)
        with pytest.raises(ConfigError, match=f"another cluster .*{real}.*vk-provider confirm west --new-cluster"):
            await identify(client, "of-another", member="west", deadline=10)


@pytest.mark.parametrize(
    "health",
    [
        {"lostAfterSeconds": 5},
        {"probeSeconds": 0},
        {"suspectAfterFailures": 0},
        {"probeSeconds": 1, "lostAfterSeconds": 2},
    ],
)
def test_thresholds_that_make_no_sense_are_refused(parent: Cluster, provider: Provider, health: Json) -> None:
    with pytest.raises(ApiFailure, match="422"):
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": health}})


def test_an_edit_that_needs_no_other_connection_leaves_the_node_at_its_port(
    parent: Cluster, provider: Provider
) -> None:
    before = eventually(lambda: port(parent, "alpha"), "the kubelet API is served")
    change = {"labels": {"size": "large"}, "capacity": {"pods": "77"}, "health": {"lostAfterSeconds": 30}}
    parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": change})
    eventually(lambda: parent.get(NODES, "alpha")["metadata"]["labels"].get("size") == "large", "the label is there")
    eventually(lambda: parent.get(NODES, "alpha")["status"]["allocatable"]["pods"] == "77", "the cap is there")
    members.wait_until_served(parent, "alpha")
    undo = {"labels": None, "capacity": None, "health": None}
    parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": undo})
    eventually(lambda: "size" not in parent.get(NODES, "alpha")["metadata"]["labels"], "the label is gone")
    assert port(parent, "alpha") == before, "another port means that it was served anew, and sessions were cut"


def rather_on(member: str, manifest: Json) -> Json:
    """The manifest of a workload whose pods prefer a member, and leave it as soon as it is lost."""
    spec = manifest["spec"]["template"]["spec"]
    spec.pop("nodeSelector", None)
    term = {"matchExpressions": [{"key": wellknown.CLUSTER_LABEL, "operator": "In", "values": [member]}]}
    preferred = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "preference": term}]}
    spec |= {"affinity": {"nodeAffinity": preferred}, "tolerations": tolerating(0)}
    return manifest


def stateful_set(name: str) -> Json:
    manifest = deployment(name, 1)
    manifest["spec"]["serviceName"] = name
    return manifest


def tolerating(seconds: int) -> list[Json]:
    common = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
    return [{"key": key, **common} for key in (NOT_READY, UNREACHABLE)]


def seconds_of(pod: Json) -> dict[str, int | None]:
    """For how long it tolerates a dead node; None: for ever."""
    return {
        toleration["key"]: toleration.get("tolerationSeconds")
        for toleration in pod["spec"]["tolerations"]
        if toleration.get("key") in (NOT_READY, UNREACHABLE)
    }


def condition(parent: Cluster, name: str, type: str, status: str) -> Json:
    """The condition of a MemberCluster, once it has that status."""
    conditions = parent.get(MEMBER_CLUSTERS, name).get("status", {}).get("conditions", [])
    found: Json = next((each for each in conditions if each["type"] == type), {})
    assert found.get("status") == status, conditions
    return found


def reachable(parent: Cluster, name: str) -> Json:
    conditions = parent.get(MEMBER_CLUSTERS, name).get("status", {}).get("conditions", [])
    return next((each for each in conditions if each["type"] == wellknown.REACHABLE), {})


def wait_until(parent: Cluster, name: str, reason: str) -> None:
    """Until that is what is believed of the member."""

    def believed() -> bool:
        found = reachable(parent, name)
        assert found.get("reason") == reason, found
        return True

    eventually(believed, f"member {name} is {reason}", PATIENCE)


def node_ready(parent: Cluster, name: str) -> Json:
    return next(each for each in parent.get(NODES, name)["status"]["conditions"] if each["type"] == "Ready")


def taints(parent: Cluster, name: str) -> set[str]:
    return {taint["key"] for taint in parent.get(NODES, name)["spec"].get("taints", [])}


def wait_until_clean(parent: Cluster, name: str) -> None:
    """Until no taint is left that evicts who tolerates nothing: Kubernetes takes it off some seconds after Ready."""
    eventually(lambda: not taints(parent, name) & {NOT_READY, UNREACHABLE}, f"node {name} is clean", PATIENCE)


def pod_ready(pod: Json) -> tuple[str, str]:
    found = next(each for each in pod["status"]["conditions"] if each["type"] == "Ready")
    return found["status"], found.get("reason", "")


def ready_again(pod: Json) -> Json:
    assert pod_ready(pod)[0] == "True", pod["status"]["conditions"]
    return pod


def returned(parent: Cluster, member: Cluster, namespace: str) -> Callable[[], set[str]]:
    """A probe: the names of the pods that live in the member when its node is Ready."""

    def probe() -> set[str]:
        found = node_ready(parent, member.name)
        assert found["status"] == "True", found
        return {
            pod["metadata"]["name"]
            for pod in member.list(PODS, namespace)
            if "deletionTimestamp" not in pod["metadata"]
        }

    return probe


def deleted(cluster: Cluster, name: str, namespace: str) -> bool:
    found = cluster.find(PODS, name, namespace)
    return found is None or "deletionTimestamp" in found["metadata"]


def renewed(parent: Cluster, node: str, times: int, since: int | None = None) -> None:
    """Waits until the Lease was renewed so often: once a probe, while a member is suspect."""
    position = parent.audit_position() if since is None else since

    def often() -> bool:
        asked = [r for r in parent.requests(position) if (r.verb, r.resource, r.name) == ("patch", "leases", node)]
        return len(asked) >= times

    eventually(often, "the lease is renewed", PATIENCE)


def port(parent: Cluster, node: str) -> int:
    endpoint = parent.get(NODES, node)["status"].get("daemonEndpoints", {}).get("kubeletEndpoint", {})
    return int(endpoint.get("Port", 0))
