"""Workloads of the parent's controllers with their pods in a member, and the parent's admission and budgets."""

from __future__ import annotations

from typing import Any, Final

import pytest

from tests.cluster import ApiFailure, Cluster, Json
from tests.waiting import eventually
from tests.workloads import IMAGE, bare, phase, running_pods, set_status, wait_until_gone, wait_until_running
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES, PODS, Resource

pytestmark = pytest.mark.usefixtures("provider")

STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS: Final = Resource("apps", "v1", "daemonsets", "DaemonSet")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
CRON_JOBS: Final = Resource("batch", "v1", "cronjobs", "CronJob")
BUDGETS: Final = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
PRIORITIES: Final = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", namespaced=False)
QUOTAS: Final = Resource("", "v1", "resourcequotas", "ResourceQuota")
LIMITS: Final = Resource("", "v1", "limitranges", "LimitRange")


def template(labels: Json | None = None, **spec: Any) -> Json:
    """A pod template for virtual node `alpha`. The pods do not end by themselves, not even those of a Job."""
    body = {
        "nodeSelector": {wellknown.CLUSTER_LABEL: "alpha"},
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "web", "image": IMAGE}],
    }
    return {"metadata": {"labels": labels or {}, "annotations": {"localkube/runs": ""}}, "spec": body | spec}


def test_a_stateful_set_has_stable_names_and_scales_in_order(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    labels = {"app": "db"}
    spec = {"replicas": 3, "serviceName": "db", "selector": {"matchLabels": labels}, "template": template(labels)}
    parent.create(STATEFUL_SETS, {"metadata": {"name": "db"}, "spec": spec}, namespace)
    eventually(lambda: running_pods(alpha, namespace).keys() == {"db-0", "db-1", "db-2"}, "all pods run", 60)
    created = [alpha.get(PODS, f"db-{number}", namespace)["metadata"]["creationTimestamp"] for number in range(3)]
    assert created == sorted(created)
    hostnames = [alpha.get(PODS, f"db-{number}", namespace)["spec"]["hostname"] for number in range(3)]
    assert hostnames == ["db-0", "db-1", "db-2"]
    parent.delete(PODS, "db-1", namespace)
    eventually(
        lambda: running_pods(alpha, namespace).keys() == {"db-0", "db-1", "db-2"},
        "the pod is recreated with its name",
        60,
    )
    parent.patch(STATEFUL_SETS, "db", {"spec": {"replicas": 1}}, namespace)
    eventually(
        lambda: {p["metadata"]["name"] for p in alpha.list(PODS, namespace)} == {"db-0"},
        "the pods with the highest index are deleted first",
        60,
    )


def test_a_daemon_set_has_one_pod_for_the_virtual_node(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    labels = {"app": "agent"}
    spec = {"selector": {"matchLabels": labels}, "template": template(labels)}
    parent.create(DAEMON_SETS, {"metadata": {"name": "agent"}, "spec": spec}, namespace)

    def ready() -> bool:
        status = parent.get(DAEMON_SETS, "agent", namespace)["status"]
        assert (status["desiredNumberScheduled"], status.get("numberReady")) == (1, 1), status
        return True

    eventually(ready, "its pod is ready", 60)
    assert len(running_pods(alpha, namespace)) == 1


def test_an_indexed_job_completes_every_index(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    ends = template(restartPolicy="Never")
    ends["metadata"]["annotations"].clear()
    job = {"completionMode": "Indexed", "completions": 4, "parallelism": 2, "template": ends}
    parent.create(JOBS, {"metadata": {"name": "sum"}, "spec": job}, namespace)

    def complete() -> Json:
        status: Json = parent.get(JOBS, "sum", namespace)["status"]
        assert (status.get("succeeded"), status.get("completedIndexes")) == (4, "0-3"), status
        return status

    eventually(complete, "the Job is complete", 90)
    indexes = {
        p["metadata"]["annotations"]["batch.kubernetes.io/job-completion-index"] for p in alpha.list(PODS, namespace)
    }
    assert indexes == {"0", "1", "2", "3"}


def test_a_pod_failure_policy_uses_the_exit_code_of_a_container_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    job = {"podFailurePolicy": {"rules": [rule]}, "template": template(restartPolicy="Never")}
    parent.create(JOBS, {"metadata": {"name": "sum"}, "spec": job}, namespace)
    (name,) = eventually(lambda: running_pods(alpha, namespace), "its pod runs in the member", 60)
    ended = {"terminated": {"exitCode": 42, "reason": "Error", "finishedAt": "2030-01-01T00:00:00Z"}}
    container = {"name": "web", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "state": ended}
    set_status(alpha, name, namespace, phase="Failed", containerStatuses=[container])

    def failed() -> bool:
        conditions = parent.get(JOBS, "sum", namespace)["status"].get("conditions", [])
        assert any((c["type"], c["reason"]) == ("Failed", "PodFailurePolicy") for c in conditions), conditions
        return True

    eventually(failed, "the Job has failed by its policy", 60)


def test_an_indexed_job_succeeds_by_its_success_policy(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    job = {
        "completionMode": "Indexed",
        "completions": 2,
        "parallelism": 2,
        "successPolicy": {"rules": [{"succeededIndexes": "1"}]},
        "template": template(restartPolicy="Never"),
    }
    parent.create(JOBS, {"metadata": {"name": "sum"}, "spec": job}, namespace)
    names = eventually(lambda: sorted(running_pods(alpha, namespace))[1:], "both pods run in the member", 60)
    set_status(alpha, names[0], namespace, phase="Succeeded")  # sum-1-xxxxx

    def complete() -> bool:
        conditions = parent.get(JOBS, "sum", namespace)["status"].get("conditions", [])
        assert any((c["type"], c.get("reason")) == ("Complete", "SuccessPolicy") for c in conditions), conditions
        return True

    eventually(complete, "the Job is complete by its policy", 60)
    eventually(lambda: running_pods(alpha, namespace) == {}, "the other pod is deleted", 60)


def test_a_cron_job_creates_jobs_with_pods_in_the_member(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    job = {"spec": {"template": template(restartPolicy="Never")}}
    body = {"metadata": {"name": "tick"}, "spec": {"schedule": "* * * * *", "jobTemplate": job}}
    parent.create(CRON_JOBS, body, namespace)
    eventually(lambda: alpha.list(PODS, namespace), "a pod of its first Job is in the member", 90)


def test_a_disruption_budget_of_the_parent_prevents_an_eviction(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    manifest = bare("web")
    manifest["metadata"]["labels"] = {"app": "web"}
    parent.create(PODS, manifest, namespace)
    wait_until_running(parent, "web", namespace)
    spec = {"minAvailable": 1, "selector": {"matchLabels": {"app": "web"}}}
    parent.create(BUDGETS, {"metadata": {"name": "web"}, "spec": spec}, namespace)
    eventually(lambda: "disruptionsAllowed" in parent.get(BUDGETS, "web", namespace)["status"], "the budget is counted")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "web", "namespace": namespace}}
    with pytest.raises(ApiFailure, match="429"):
        parent.call("POST", PODS.path("web", namespace, "eviction"), eviction)
    parent.delete(BUDGETS, "web", namespace)
    eventually(
        lambda: parent.call("POST", PODS.path("web", namespace, "eviction"), eviction), "the eviction is allowed"
    )
    wait_until_gone(parent, "web", namespace)
    assert alpha.find(PODS, "web", namespace) is None


def test_a_pod_of_higher_priority_preempts_another_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PRIORITIES, {"metadata": {"name": "urgent"}, "value": 1000})

    def wide(name: str, **spec: Any) -> Json:
        resources = {"requests": {"cpu": "31"}}
        containers = [{"name": "web", "image": IMAGE, "resources": resources}]
        return {"metadata": {"name": name}} | {"spec": template(containers=containers, **spec)["spec"]}

    for number in range(3):  # each fills a node of the member, and the virtual node cannot hold a fourth or a fifth
        parent.create(PODS, wide(f"low-{number}"), namespace)
        wait_until_running(parent, f"low-{number}", namespace)
    parent.create(PODS, wide("high", priorityClassName="urgent"), namespace)
    wait_until_running(parent, "high", namespace, 60)
    assert "priorityClassName" not in alpha.get(PODS, "high", namespace)["spec"]
    assert len(running_pods(alpha, namespace).keys() & {"low-0", "low-1", "low-2"}) == 2
    parent.call("DELETE", PODS.path(namespace=namespace))
    parent.delete(PRIORITIES, "urgent")


def test_the_parent_enforces_quota_limit_ranges_and_pod_security(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.patch(NAMESPACES, namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "baseline"}}})
    limit = {"type": "Container", "defaultRequest": {"cpu": "7m"}, "default": {"cpu": "70m"}}
    parent.create(LIMITS, {"metadata": {"name": "small"}, "spec": {"limits": [limit]}}, namespace)
    parent.create(QUOTAS, {"metadata": {"name": "one"}, "spec": {"hard": {"pods": "1"}}}, namespace)
    eventually(lambda: "hard" in parent.get(QUOTAS, "one", namespace).get("status", {}), "the quota is counted")
    with pytest.raises(ApiFailure, match="violates PodSecurity"):
        parent.create(PODS, bare("host", hostNetwork=True), namespace)
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    resources = alpha.get(PODS, "web", namespace)["spec"]["containers"][0]["resources"]
    assert resources == {"requests": {"cpu": "7m"}, "limits": {"cpu": "70m"}}
    with pytest.raises(ApiFailure, match="exceeded quota"):
        parent.create(PODS, bare("more"), namespace)
    assert phase(alpha, "more", namespace) == "absent"
