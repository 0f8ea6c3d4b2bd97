"""The command `explain`, against real API servers with a provider that serves them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import Result

from tests import command_line
from tests.cluster import Cluster
from tests.waiting import eventually
from tests.workloads import bare, pod, wait_until_running, waiting_reason
from vk_provider.api.wellknown import MEMBER_UNSCHEDULABLE
from vk_provider.kube.resources import PODS

pytestmark = pytest.mark.usefixtures("provider")


def vk(cluster: Cluster, *args: str) -> Result:
    return command_line.vk("--kubeconfig", str(cluster.kubeconfig), "explain", *args)


def explanation(cluster: Cluster, name: str, namespace: str) -> Any:
    result = vk(cluster, f"pod/{name}", "-n", namespace, "-o", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_running_pod_waits_for_nothing_and_has_a_history_of_both_clusters(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, pod("web", node="", nodeSelector={"vk-provider.io/cluster": "alpha"}), namespace)
    wait_until_running(parent, "web", namespace)
    eventually(lambda: explanation(parent, "web", namespace)["waitsFor"] == [], "it is Ready")
    found = explanation(parent, "web", namespace)
    assert (found["phase"], found["node"], found["member"]) == ("Running", "alpha", "alpha")
    assert found["warnings"] == []
    assert "it is bound to node alpha (schedulerName default-scheduler)" in found["why"]
    moments = [(moment["cluster"], moment["what"]) for moment in found["history"]]
    assert ("parent", "Created") in moments
    assert ("alpha", "Created") in moments
    assert moments[0] == ("parent", "Created")
    assert "spec.nodeSelector" in {each["field"] for each in found["differences"]}


def test_a_pod_that_fits_no_node_of_the_parent_names_what_excludes_each(parent: Cluster, namespace: str) -> None:
    parent.create(PODS, pod("lost", node="", nodeSelector={"site": "moon"}), namespace)
    eventually(
        lambda: parent.get(PODS, "lost", namespace)["status"].get("conditions"), "the scheduler has looked at the pod"
    )
    found = explanation(parent, "lost", namespace)
    assert (found["node"], found["member"]) == ("", "")
    assert any(line.startswith("PodScheduled: Unschedulable") for line in found["waitsFor"])
    assert "alpha: the nodeSelector or required node affinity of the pod excludes it" in found["why"]


def test_a_pod_without_a_place_in_the_member_waits_for_a_node_there(parent: Cluster, namespace: str) -> None:
    huge = {"resources": {"requests": {"cpu": "500"}}}
    manifest = bare("huge")
    manifest["spec"]["containers"][0] |= huge
    parent.create(PODS, manifest, namespace)
    eventually(
        lambda: waiting_reason(parent.get(PODS, "huge", namespace)) == MEMBER_UNSCHEDULABLE, "it waits in the member"
    )
    result = vk(parent, "huge", "-n", namespace)
    assert result.exit_code == 0
    assert "  a node of member alpha: Unschedulable: " in result.stdout
    assert "which is member alpha" in result.stdout.splitlines()[0]


def test_wrong_input_is_an_error_of_one_line(parent: Cluster, namespace: str) -> None:
    missing = vk(parent, "pod/absent", "-n", namespace)
    assert (missing.exit_code, missing.stderr) == (1, f"error: no pod {namespace}/absent in the parent\n")
    assert vk(parent, "deployment/web").exit_code == 2
