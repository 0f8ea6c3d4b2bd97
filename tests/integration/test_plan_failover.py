"""`vk-provider plan-failover` against a real scheduler: `alpha` with 96 CPUs and `beta` with 16, on fake nodes.

All pods run in `alpha` when its loss is planned, and `beta` is the only other member.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
from click.testing import Result

from tests import command_line, members
from tests.cluster import DEPLOYMENTS, Cluster, Json
from tests.kubectl import done
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import IMAGE, bare, deployment, running_pods, wait_until_running
from vk_provider.api import wellknown
from vk_provider.kube.resources import PODS, PRIORITY_CLASSES, Resource

STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
DAEMON_SETS: Final = Resource("apps", "v1", "daemonsets", "DaemonSet")
QUOTAS: Final = Resource("", "v1", "resourcequotas", "ResourceQuota")
NO_SCHEDULER: Final = "no-scheduler"  # a scheduler that does not exist


@pytest.fixture(autouse=True)
def nothing_is_left(parent: Cluster, alpha: Cluster, beta_served: Cluster, provider: Provider) -> Iterator[None]:
    """After each plan: no object of it is left in the parent, and no member received a request for it."""
    positions = {cluster: cluster.audit_position() for cluster in (alpha, beta_served)}
    yield
    assert parent.list(PODS, labels=wellknown.PLAN) == []
    assert parent.list(PRIORITY_CLASSES, labels=wellknown.PLAN) == []
    for cluster, position in positions.items():
        names = {request.name for request in cluster.requests(position) if request.resource == "pods"}
        assert [name for name in names if name.startswith("plan-")] == [], cluster.name


@pytest.fixture
def home(parent: Cluster, namespace: str) -> Home:
    """A namespace while no other pods run in either member."""
    for node in ("alpha", "beta"):
        fields = f"spec.nodeName={node}"
        eventually(lambda it=fields: parent.list(PODS, fields=it) == [], f"no pod is on {node}", 60)  # type: ignore[misc]
    return Home(parent, namespace)


class Home:
    """A namespace with pods in `alpha`."""

    def __init__(self, parent: Cluster, namespace: str) -> None:
        self.parent, self.namespace = parent, namespace

    def fill(self, *wanted: tuple[Resource, Json], pods: int) -> None:
        """Creates workloads while `beta` is cordoned, and waits until `pods` pods run."""
        with members.cordoned(self.parent, "beta"):
            for resource, body in wanted:
                self.parent.create(resource, body, self.namespace)
            eventually(lambda: len(running_pods(self.parent, self.namespace)) == pods, f"{pods} pods run", 60)
        nodes = {pod["spec"]["nodeName"] for pod in running_pods(self.parent, self.namespace).values()}
        assert nodes == {"alpha"}

    def plan(self, *args: str) -> Result:
        return command_line.vk("--kubeconfig", str(self.parent.kubeconfig), "plan-failover", "alpha", *args)

    def rows(self, *args: str, code: int = 0) -> list[Json]:
        """The rows of the output by pod name."""
        result = self.plan("-o", "json", *args)
        assert result.exit_code == code, result.output
        rows: list[Json] = json.loads(result.stdout)["pods"]
        return rows


def test_pods_that_fit_into_another_member_move(home: Home, beta_served: Cluster) -> None:
    home.fill((DEPLOYMENTS, anywhere("web", 3)), pods=3)
    position = beta_served.audit_position()
    home.parent.create(PODS, bare("seen", node="beta"), home.namespace)
    wait_until_running(home.parent, "seen", home.namespace)
    rows = home.rows()
    assert [(row["outcome"], row["node"]) for row in rows] == [("Moves", "beta")] * 3
    assert {row["controller"].split()[0] for row in rows} == {"ReplicaSet"}
    assert {row["evictedAfter"] for row in rows} == {300}
    assert "seen" in {request.name for request in beta_served.requests(position)}, "the audit log contains names"


def test_pods_that_fit_nowhere_do_not_move_and_have_the_message_of_the_scheduler(home: Home) -> None:
    home.fill(
        (DEPLOYMENTS, anywhere("large", 1, cpu="20")),
        (DEPLOYMENTS, deployment("pinned", 1)),
        pods=2,
    )
    large, pinned = home.rows(code=3)
    assert (large["outcome"], pinned["outcome"]) == ("Cannot", "Cannot")
    assert "Insufficient cpu" in large["message"]
    assert "preemption" not in large["message"]
    assert "didn't match Pod's node affinity/selector" in pinned["message"]


def test_a_pod_cannot_use_the_resources_of_the_pods_planned_before_it(home: Home) -> None:
    home.fill((DEPLOYMENTS, anywhere("web", 3, cpu="6")), pods=3)
    assert sorted(row["outcome"] for row in home.rows(code=3)) == ["Cannot", "Moves", "Moves"]


def test_the_pods_move_as_planned(home: Home) -> None:
    home.fill((DEPLOYMENTS, anywhere("web", 3, cpu="6")), pods=3)
    planned = Counter(row["node"] for row in home.rows(code=3))
    done(home.parent, "taint", "node", "alpha", "tests.example/lost=yes:NoExecute")
    try:
        eventually(
            lambda: Counter(pod["spec"].get("nodeName", "") for pod in living(home)) == planned == {"beta": 2, "": 1},
            "the pods run in the planned members",
            60,
        )
    finally:
        done(home.parent, "taint", "node", "alpha", "tests.example/lost-")


def test_anti_affinity_to_a_running_replica_prevents_a_move(home: Home) -> None:
    apart = anywhere("web", 2, affinity={"podAntiAffinity": required("web")})
    home.parent.create(DEPLOYMENTS, apart, home.namespace)
    eventually(lambda: len(running_pods(home.parent, home.namespace)) == 2, "one pod runs in each member")
    (row,) = home.rows(code=3)
    assert row["outcome"] == "Cannot"
    assert "anti-affinity" in row["message"]


def test_a_pod_with_affinity_to_another_moves_after_it(home: Home, higher: str) -> None:
    follower = anywhere("follower", 1, affinity={"podAffinity": required("other")}, priorityClassName=higher)
    home.fill((DEPLOYMENTS, anywhere("other", 1)), (DEPLOYMENTS, follower), pods=2)
    assert [row["outcome"] for row in home.rows()] == ["Moves", "Moves"]


def test_a_pod_of_higher_priority_moves_first(home: Home, higher: str) -> None:
    urgent = anywhere("urgent", 1, cpu="10", priorityClassName=higher)
    home.fill((DEPLOYMENTS, anywhere("patient", 1, cpu="10")), (DEPLOYMENTS, urgent), pods=2)
    assert {row["name"].split("-")[0]: row["outcome"] for row in home.rows(code=3)} == {
        "patient": "Cannot",
        "urgent": "Moves",
    }


def test_pods_that_stay_end_or_wait_are_listed_with_the_reason(home: Home) -> None:
    forever = {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}
    held, tolerant = anywhere("held", 1), anywhere("tolerant", 1, tolerations=[forever])
    held["spec"]["template"]["metadata"]["annotations"] = {wellknown.ON_LOST: "Hold"}
    stateful = anywhere("stateful", 1)
    stateful["spec"]["serviceName"] = "stateful"
    home.fill(
        (DEPLOYMENTS, held),
        (DEPLOYMENTS, tolerant),
        (STATEFUL_SETS, stateful),
        (PODS, bare("alone")),
        pods=4,
    )
    found = {row["name"].split("-")[0]: row for row in home.rows(code=3)}
    assert {name: row["outcome"] for name, row in found.items()} == {
        "alone": "Ends",
        "held": "Stays",
        "stateful": "Waits",
        "tolerant": "Stays",
    }
    assert found["stateful"]["node"] == "beta"
    assert "fence" in found["stateful"]["message"]
    assert (found["held"]["evictedAfter"], found["tolerant"]["evictedAfter"]) == (None, None)


def test_pods_of_daemon_sets_are_not_listed(home: Home) -> None:
    body = anywhere("agent", 1)
    del body["spec"]["replicas"]
    body["spec"]["template"]["spec"]["nodeSelector"] = {wellknown.CLUSTER_LABEL: "alpha"}
    home.parent.create(DAEMON_SETS, body, home.namespace)
    eventually(lambda: len(running_pods(home.parent, home.namespace)) == 1, "the agent runs")
    assert home.rows() == []


def test_a_rejection_by_a_quota_is_a_result(home: Home) -> None:
    home.fill((DEPLOYMENTS, anywhere("web", 2)), pods=2)
    home.parent.create(QUOTAS, {"metadata": {"name": "few"}, "spec": {"hard": {"pods": "3"}}}, home.namespace)
    eventually(
        lambda: home.parent.get(QUOTAS, "few", home.namespace).get("status", {}).get("used", {}).get("pods") == "2",
        "the quota is counted",
    )
    rows = sorted(home.rows(code=3), key=lambda row: str(row["outcome"]))
    assert [row["outcome"] for row in rows] == ["Moves", "Refused"]
    assert "exceeded quota: few" in rows[1]["message"]


def test_a_scheduler_that_does_not_answer_is_reported_after_the_timeout(home: Home) -> None:
    pod_without_scheduler(home)
    (row,) = home.rows("--timeout", "2", code=3)
    assert row["outcome"] == "Unknown"
    assert "2 s" in row["message"]


def test_the_output_is_a_table_with_a_summary(home: Home) -> None:
    home.fill((DEPLOYMENTS, anywhere("web", 1)), (DEPLOYMENTS, deployment("pinned", 1)), pods=2)
    result = home.plan()
    header, *lines, last = result.stdout.splitlines()
    assert header.split() == ["POD", "AFTER", "OUTCOME", "NODE", "WHY"]
    (line,) = [line.split() for line in lines if f"{home.namespace}/web-" in line]
    assert line[1:] == ["300s", "Moves", "beta"]
    assert last == "1 of 2 pods would move (1 to beta); 1 Cannot"
    assert result.exit_code == 3


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_plan_deletes_its_shadow_pods(home: Home, number: signal.Signals) -> None:
    pod_without_scheduler(home)
    with planning(home) as process:
        process.send_signal(number)
        assert process.wait(timeout=90) == 130


def test_the_next_plan_cleans_up_after_a_killed_one(home: Home) -> None:
    pod_without_scheduler(home)
    with planning(home) as process:
        process.kill()
        process.wait(timeout=30)
    (left,) = home.parent.list(PRIORITY_CLASSES, labels=wellknown.PLAN)
    home.rows("--timeout", "2", code=3)
    name = left["metadata"]["name"]
    assert home.parent.find(PRIORITY_CLASSES, name), "it may belong to another running plan"
    past = {"metadata": {"annotations": {wellknown.PLAN_EXPIRES: "2026-01-01T00:00:00+00:00"}}}
    home.parent.patch(PRIORITY_CLASSES, name, past)
    home.rows("--timeout", "2", code=3)
    assert home.parent.find(PRIORITY_CLASSES, name) is None
    eventually(lambda: home.parent.list(PODS, labels=wellknown.PLAN) == [], "Kubernetes has deleted its shadow pods")


def test_the_plan_of_a_member_without_pods_is_empty(home: Home) -> None:
    result = command_line.vk("--kubeconfig", str(home.parent.kubeconfig), "plan-failover", "beta", "-o", "json")
    assert (result.exit_code, json.loads(result.stdout)["pods"]) == (0, [])


@pytest.fixture
def higher(parent: Cluster) -> Iterator[str]:
    """A PriorityClass above the default."""
    parent.create(PRIORITY_CLASSES, {"metadata": {"name": "higher"}, "value": 1000})
    yield "higher"
    parent.delete(PRIORITY_CLASSES, "higher")


def anywhere(name: str, replicas: int, *, cpu: str = "10m", **spec: Any) -> Json:
    """A Deployment with pods for any member."""
    body = deployment(name, replicas)
    template = body["spec"]["template"]["spec"]
    del template["nodeSelector"]
    template["containers"] = [{"name": "web", "image": IMAGE, "resources": {"requests": {"cpu": cpu}}}]
    template.update({"terminationGracePeriodSeconds": 1, **spec})
    return body


def living(home: Home) -> list[Json]:
    return [pod for pod in home.parent.list(PODS, home.namespace) if "deletionTimestamp" not in pod["metadata"]]


def required(app: str) -> Json:
    term = {"topologyKey": wellknown.CLUSTER_LABEL, "labelSelector": {"matchLabels": {"app": app}}}
    return {"requiredDuringSchedulingIgnoredDuringExecution": [term]}


def pod_without_scheduler(home: Home) -> None:
    """A pod in `alpha` without a scheduler: the test binds it."""
    home.parent.create(DEPLOYMENTS, anywhere("web", 1, schedulerName=NO_SCHEDULER), home.namespace)
    (name,) = eventually(
        lambda: [pod["metadata"]["name"] for pod in home.parent.list(PODS, home.namespace)], "the pod exists"
    )
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}}
    target = {"apiVersion": "v1", "kind": "Node", "name": "alpha"}
    home.parent.call("POST", PODS.path(name, home.namespace, "binding"), binding | {"target": target})
    wait_until_running(home.parent, name, home.namespace)


@contextmanager
def planning(home: Home) -> Iterator[subprocess.Popen[bytes]]:
    """A plan that waits for a scheduler. Its shadow pod exists."""
    command = [sys.executable, "-m", "vk_provider", "--kubeconfig", str(home.parent.kubeconfig)]
    with subprocess.Popen([*command, "plan-failover", "alpha"], stderr=subprocess.PIPE) as process:
        try:
            eventually(
                lambda: home.parent.list(PODS, home.namespace, labels=wellknown.PLAN), "its shadow pod exists", 90
            )
            yield process
        finally:
            process.kill()
