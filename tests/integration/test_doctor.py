"""The command `doctor` finds faults and names their remedies, on real API servers. `beta` is the parent."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import command_line, members
from tests.cluster import Cluster
from tests.integration.commands import CRD, Vk
from tests.waiting import eventually
from tests.workloads import bare
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.api.wellknown import CLUSTER_LABEL, SYSTEM_NAMESPACE
from vk_provider.cli.member_checks import _CHECKS
from vk_provider.kube.resources import CRDS, NODES, PODS, SECRETS


def found(vk: Vk, *args: str) -> dict[tuple[str, str], Any]:
    """The findings, by subject and check."""
    result = vk("doctor", "-o", "json", *args)
    listed = json.loads(result.stdout)
    assert result.exit_code == (3 if any(one["level"] == "error" for one in listed) else 0), result.output
    return {(one["subject"], one["check"]): one for one in listed}


def replace_kubeconfig(home: Cluster, content: str) -> None:
    data = {"kubeconfig": members._encoded(content)}
    home.patch(SECRETS, "member-west", {"data": data}, SYSTEM_NAMESPACE)


def test_a_parent_without_members_lacks_only_the_definition(alpha: Cluster) -> None:
    result = command_line.vk("--kubeconfig", str(alpha.kubeconfig), "doctor")
    assert result.exit_code == 3
    assert "kubectl apply -f manifests/crds" in result.stdout
    assert "2 checks: 1 error, 0 warnings" in result.stdout


@pytest.mark.usefixtures("provider")
def test_all_checks_of_a_served_member_are_ok(parent: Cluster) -> None:
    def not_ok() -> dict[str, str]:
        result = command_line.vk("--kubeconfig", str(parent.kubeconfig), "doctor", "alpha", "-o", "json")
        of_alpha = [one for one in json.loads(result.stdout) if one["subject"] == "alpha"]
        assert {one["check"] for one in of_alpha} == set(_CHECKS)
        return {one["check"]: one["message"] for one in of_alpha if one["level"] != "ok"}

    eventually(lambda: not not_ok(), "all checks are ok")  # the offer of a node follows the member within seconds


def test_a_member_that_no_provider_serves(joined: Vk) -> None:
    findings = found(joined)
    for check in ("provider", "state", "node"):
        assert findings["west", check]["level"] == "error"
        assert "vk-provider run" in findings["west", check]["remedy"]
    assert findings["west", "api"]["level"] == findings["west", "credential"]["level"] == "ok"
    assert findings["parent", "definition"]["level"] == "ok"


def test_a_missing_secret(home: Cluster, joined: Vk) -> None:
    home.delete(SECRETS, "member-west", SYSTEM_NAMESPACE)
    credential = found(joined)["west", "credential"]
    assert (credential["level"], credential["remedy"]) == ("error", "vk-provider join west --kubeconfig FILE")


def test_a_secret_that_holds_no_kubeconfig(home: Cluster, joined: Vk) -> None:
    replace_kubeconfig(home, "nonsense")
    assert found(joined)["west", "credential"]["level"] == "error"


def test_a_token_that_the_member_does_not_accept(home: Cluster, joined: Vk, alpha: Cluster) -> None:
    replace_kubeconfig(home, members.kubeconfig(alpha, token="wrong"))
    api = found(joined)["west", "api"]
    assert api["level"] == "error"
    assert "does not accept the credential" in api["message"]
    assert "wrong" not in api["message"]


def test_a_member_that_does_not_answer(home: Cluster, joined: Vk, alpha: Cluster) -> None:
    replace_kubeconfig(home, members.kubeconfig(alpha, server="https://127.0.0.1:1"))
    assert found(joined)["west", "api"]["level"] == "error"


def test_another_cluster_than_the_one_that_was_joined(home: Cluster, joined: Vk) -> None:
    home.patch(MEMBER_CLUSTERS, "west", {"status": {"clusterUid": "another"}}, subresource="status")
    api = found(joined)["west", "api"]
    assert (api["level"], "--new-cluster" in api["remedy"]) == ("error", True)


def test_permissions_that_are_missing(home: Cluster, joined: Vk, alpha: Cluster) -> None:
    replace_kubeconfig(home, members.kubeconfig(alpha, account="default"))
    api = found(joined)["west", "api"]
    assert (api["level"], "manifests/member/rbac.yaml" in api["remedy"]) == ("error", True)


def test_an_older_definition(home: Cluster, joined: Vk) -> None:
    home.patch(CRDS, CRD, {"spec": {"names": {"shortNames": ["mcs"]}}})
    definition = found(joined)["parent", "definition"]
    assert (definition["level"], definition["remedy"]) == ("warning", "kubectl apply -f manifests/crds")


def test_pods_of_excluded_namespaces(home: Cluster, joined: Vk) -> None:
    home.create(NODES, {"metadata": {"name": "west", "labels": {CLUSTER_LABEL: "west"}}})
    home.create(PODS, bare("agent", node="west"), "kube-system")
    try:
        waiting = found(joined)["west", "namespaces"]
    finally:
        home.delete(PODS, "agent", "kube-system", grace_seconds=0)
    assert waiting["level"] == "warning"
    assert "kube-system/agent" in waiting["message"]


def test_an_offer_that_the_member_does_not_have(home: Cluster, joined: Vk) -> None:
    home.create(NODES, {"metadata": {"name": "west", "labels": {CLUSTER_LABEL: "west"}}})
    home.patch(NODES, "west", {"status": {"allocatable": {"cpu": "100k"}}}, subresource="status")
    allocatable = found(joined)["west", "allocatable"]
    assert (allocatable["level"], allocatable["message"].endswith(": cpu")) == ("warning", True)


def test_a_name_that_does_not_exist(joined: Vk) -> None:
    result = joined("doctor", "east")
    assert (result.exit_code, result.stderr) == (1, "error: no member east; the members are: west\n")
