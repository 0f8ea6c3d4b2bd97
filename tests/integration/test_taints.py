"""`kubectl taint`, `cordon`, `uncordon` and `drain` work on a virtual node as on any node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests import members
from tests.cluster import DEPLOYMENTS, Cluster, Json
from tests.kubectl import done, kubectl
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import deployment, running_pods
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import NODES, PODS, Resource

DISRUPTION_BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
KEY: Final = "tests.example/x"  # of taints


@pytest.fixture(autouse=True)
def both_take_pods(parent: Cluster, beta_served: Cluster, provider: Provider) -> Iterator[None]:
    """Both nodes are without taints and cordons, before and after the test."""
    yield
    kubectl(parent, "taint", "nodes", "--all", f"{KEY}-")
    done(parent, "uncordon", "alpha", "beta")
    for node in ("alpha", "beta"):
        eventually(lambda it=node: not parent.get(NODES, it)["spec"].get("taints"), f"{node} accepts pods")  # type: ignore[misc]


def test_a_no_execute_taint_moves_pods_to_the_other_member(
    parent: Cluster, alpha: Cluster, beta_served: Cluster, namespace: str
) -> None:
    run_on_alpha(parent, namespace, workload("web", 3))
    done(parent, "taint", "node", "alpha", f"{KEY}=y:NoExecute")
    eventually(lambda: places(parent, namespace) == {"beta": 3}, "all pods run in the other member", 60)
    eventually(lambda: alpha.list(PODS, namespace) == [], "no pod is left in the first member", 60)
    assert len(running_pods(beta_served, namespace)) == 3


def test_pods_that_tolerate_the_taint_stay(parent: Cluster, namespace: str) -> None:
    tolerant = workload("tolerant", 1, tolerations=[toleration()])
    run_on_alpha(parent, namespace, tolerant, workload("web", 1))
    before = names(parent, namespace, "tolerant")
    done(parent, "taint", "node", "alpha", f"{KEY}=y:NoExecute")
    eventually(lambda: places(parent, namespace) == {"alpha": 1, "beta": 1}, "the other pod has moved", 60)
    assert names(parent, namespace, "tolerant") == before


def test_pods_with_toleration_seconds_move_after_that_time(parent: Cluster, namespace: str) -> None:
    run_on_alpha(parent, namespace, workload("web", 1, tolerations=[toleration(tolerationSeconds=3)]))
    before = names(parent, namespace, "web")
    done(parent, "taint", "node", "alpha", f"{KEY}=y:NoExecute")
    eventually(lambda: names(parent, namespace, "web").isdisjoint(before), "another pod runs", 60)
    (event,) = [
        each
        for each in parent.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        if each["reason"] == "TaintManagerEviction" and "Marking for deletion" in each["message"]
    ]
    assert event["involvedObject"]["name"] in before


def test_a_taint_that_is_removed_before_toleration_seconds_evicts_no_pod(parent: Cluster, namespace: str) -> None:
    patient = workload("patient", 1, tolerations=[toleration(tolerationSeconds=600)])
    run_on_alpha(parent, namespace, patient, workload("web", 1))
    before = names(parent, namespace, "patient")
    done(parent, "taint", "node", "alpha", f"{KEY}=y:NoExecute")
    eventually(lambda: places(parent, namespace) == {"alpha": 1, "beta": 1}, "the other pod has moved", 60)
    done(parent, "taint", "node", "alpha", f"{KEY}-")
    eventually(lambda: cancelled(parent, namespace), "the eviction is cancelled")
    assert names(parent, namespace, "patient") == before


def test_a_cordon_keeps_new_pods_away_and_running_pods_stay(parent: Cluster, namespace: str) -> None:
    run_on_alpha(parent, namespace, workload("web", 1))
    done(parent, "cordon", "alpha")
    done(parent, "scale", "deployment", "web", "--replicas=3", "-n", namespace)
    eventually(lambda: places(parent, namespace) == {"alpha": 1, "beta": 2}, "the new pods are in the other member")
    assert "SchedulingDisabled" in done(parent, "get", "node", "alpha")


def test_pods_are_scheduled_after_uncordon(parent: Cluster, namespace: str) -> None:
    done(parent, "cordon", "alpha")
    parent.create(DEPLOYMENTS, deployment("pinned", 1), namespace)
    eventually(lambda: "FailedScheduling" in reasons(parent, namespace), "the scheduler has tried")
    assert places(parent, namespace) == {}
    done(parent, "uncordon", "alpha")
    eventually(lambda: places(parent, namespace) == {"alpha": 1}, "the pod runs", 60)


def test_a_cordon_and_a_taint_survive_a_restart_and_writes_of_the_provider(parent: Cluster, provider: Provider) -> None:
    done(parent, "cordon", "beta")
    done(parent, "taint", "node", "beta", f"{KEY}=y:NoSchedule")
    for end in (provider.kill, provider.stop):
        end()
        position = parent.audit_position()
        provider.start()
        eventually(lambda it=position: node_written(parent, it), "the node is written again", 90)  # type: ignore[misc]
    parent.patch(MEMBER_CLUSTERS, "beta", {"spec": {"labels": {"size": "large"}}})
    eventually(
        lambda: parent.get(NODES, "beta")["metadata"]["labels"].get("size") == "large", "the label is written", 60
    )
    spec = parent.get(NODES, "beta")["spec"]
    assert spec["unschedulable"] is True
    assert (KEY, "NoSchedule") in {(taint["key"], taint["effect"]) for taint in spec["taints"]}


def test_drain_empties_the_member(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    run_on_alpha(parent, namespace, workload("web", 3))
    done(parent, *drain("web"))
    eventually(lambda: places(parent, namespace) == {"beta": 3}, "all pods run in the other member", 60)
    assert alpha.list(PODS, namespace) == [], "kubectl waits until the pods are deleted, also in the member"
    assert parent.get(NODES, "alpha")["spec"]["unschedulable"] is True


def test_a_drain_waits_for_a_disruption_budget(parent: Cluster, namespace: str) -> None:
    run_on_alpha(parent, namespace, workload("web", 2))
    before = names(parent, namespace, "web")
    budget(parent, namespace, allowed=0)
    refused = kubectl(parent, *drain("web"), "--timeout=8s")
    assert refused.returncode != 0
    assert "violate the pod's disruption budget" in refused.stdout + refused.stderr
    assert names(parent, namespace, "web") == before
    budget(parent, namespace, allowed=1)
    done(parent, *drain("web"), "--timeout=90s")
    eventually(lambda: places(parent, namespace) == {"beta": 2}, "all pods run in the other member", 60)


def workload(name: str, replicas: int, **spec: Any) -> Json:
    """A Deployment with pods for any member."""
    body = deployment(name, replicas)
    template = body["spec"]["template"]["spec"]
    del template["nodeSelector"]
    template.update({"terminationGracePeriodSeconds": 1, **spec})
    return body


def toleration(**more: Any) -> Json:
    return {"key": KEY, "operator": "Exists", "effect": "NoExecute", **more}


def run_on_alpha(parent: Cluster, namespace: str, *wanted: Json) -> None:
    """Creates workloads while the other member is cordoned, and waits until all of their pods run."""
    number = sum(body["spec"]["replicas"] for body in wanted)
    with members.cordoned(parent, "beta"):
        for body in wanted:
            parent.create(DEPLOYMENTS, body, namespace)
        eventually(lambda: places(parent, namespace) == {"alpha": number}, f"{number} pods run in alpha", 60)


def places(parent: Cluster, namespace: str) -> Counter[str]:
    """The number of running pods by node."""
    return Counter(pod["spec"]["nodeName"] for pod in running_pods(parent, namespace).values())


def names(parent: Cluster, namespace: str, app: str) -> set[str]:
    found = running_pods(parent, namespace)
    return {name for name, pod in found.items() if pod["metadata"]["labels"]["app"] == app}


def reasons(parent: Cluster, namespace: str) -> set[str]:
    """The reasons of all Events in the namespace."""
    return {event["reason"] for event in parent.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]}


def cancelled(parent: Cluster, namespace: str) -> bool:
    events = parent.call("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
    return any("Cancelling deletion" in event["message"] for event in events)


def drain(app: str) -> list[str]:
    """Drains only the pods of one app, not those of other tests."""
    return ["drain", "alpha", f"--pod-selector=app={app}", "--ignore-daemonsets", "--delete-emptydir-data"]


def budget(parent: Cluster, namespace: str, *, allowed: int) -> None:
    """Creates a PodDisruptionBudget for `web`, and waits until it is in effect."""
    spec = {"maxUnavailable": allowed, "selector": {"matchLabels": {"app": "web"}}}
    parent.delete(DISRUPTION_BUDGETS, "web", namespace)
    parent.create(DISRUPTION_BUDGETS, {"metadata": {"name": "web"}, "spec": spec}, namespace)

    def counted() -> bool:
        status = parent.get(DISRUPTION_BUDGETS, "web", namespace).get("status", {})
        assert status.get("observedGeneration"), status
        return int(status["disruptionsAllowed"]) == allowed

    eventually(counted, f"{allowed} may be disrupted")


def node_written(parent: Cluster, since: int) -> bool:
    """Whether the provider has written the status of the Node: its labels and taints are as they should be by then."""
    return any(
        (request.verb, request.resource, request.name, request.subresource) == ("patch", "nodes", "beta", "status")
        and request.agent == "vk-provider"
        for request in parent.requests(since)
    )
