"""The commands against real API servers.

`beta` is the parent here: nobody serves it, and it hears of MemberClusters from `join` alone. `alpha` is the member,
and `clusters["parent"]` another cluster that could be one.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import pytest
from click.testing import Result

from tests import command_line, members
from tests.cluster import Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import bare, phase
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.api.wellknown import CLUSTER_LABEL, FINALIZER, SYSTEM_NAMESPACE
from vk_provider.cli.install import definition
from vk_provider.kube.resources import CRDS, NODES, PODS, SECRETS

CRD = definition()["metadata"]["name"]


@pytest.fixture
def home(beta: Cluster) -> Iterator[Cluster]:
    """The parent of these tests, without members."""
    yield beta
    if beta.find(CRDS, CRD) is not None:
        for found in beta.list(MEMBER_CLUSTERS):
            members.discard(beta, found["metadata"]["name"])
    for found in beta.list(NODES, labels=CLUSTER_LABEL):
        beta.delete(NODES, found["metadata"]["name"])
    for found in beta.list(SECRETS, SYSTEM_NAMESPACE, labels=CLUSTER_LABEL):
        beta.delete(SECRETS, found["metadata"]["name"], SYSTEM_NAMESPACE)


class Vk(Protocol):
    """Runs a command with `home` as the parent."""

    def __call__(self, *args: str) -> Result: ...


@pytest.fixture
def vk(home: Cluster) -> Vk:
    return lambda *args: command_line.vk("--kubeconfig", str(home.kubeconfig), *args)


@pytest.fixture
def west(alpha: Cluster, tmp_path: Path) -> str:
    """A kubeconfig of the member."""
    file = tmp_path / "west.yaml"
    file.write_text(members.kubeconfig(alpha))
    return str(file)


@pytest.fixture
def joined(vk: Vk, west: str) -> Vk:
    """The member west exists, and nobody serves it."""
    assert vk("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    return vk


def spec(home: Cluster, name: str = "west") -> Json:
    found: Json = home.get(MEMBER_CLUSTERS, name)["spec"]
    return found


def error(result: Result) -> str:
    assert result.exit_code == 1, result.output
    line: str = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line


def served_node(home: Cluster) -> None:
    """What a provider that is no more has left behind: the finalizer, the Node, and a pod on it."""
    home.patch(MEMBER_CLUSTERS, "west", {"metadata": {"finalizers": [FINALIZER]}})
    home.create(NODES, {"metadata": {"name": "west", "labels": {CLUSTER_LABEL: "west"}}})
    home.create(PODS, bare("left", node="west"), "default")


# A parent that has never heard of MemberClusters (alpha is none).


def test_status_of_a_parent_without_members_says_how_to_join(alpha: Cluster) -> None:
    result = command_line.vk("--kubeconfig", str(alpha.kubeconfig), "status")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "vk-provider join" in result.stderr


def test_status_of_a_parent_without_members_is_an_empty_list(alpha: Cluster) -> None:
    assert command_line.vk("--kubeconfig", str(alpha.kubeconfig), "status", "-o", "json").stdout.strip() == "[]"


@pytest.mark.parametrize("args", [["run"], ["status", "west"], ["unjoin", "west", "--yes"]])
def test_a_parent_without_members_points_to_join(alpha: Cluster, args: list[str]) -> None:
    assert "join" in error(command_line.vk("--kubeconfig", str(alpha.kubeconfig), *args))


# Join.


def test_the_first_join_installs_the_definition_and_the_next_leaves_it(home: Cluster, vk: Vk, west: str) -> None:
    home.delete(CRDS, CRD)
    eventually(lambda: home.find(CRDS, CRD) is None, "the definition is gone")
    assert vk("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    installed = home.get(CRDS, CRD)["metadata"]
    assert vk("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    assert home.get(CRDS, CRD)["metadata"]["generation"] == installed["generation"]
    assert home.get(CRDS, CRD)["metadata"]["managedFields"] == installed["managedFields"]


def test_join_brings_an_older_definition_up_to_date(home: Cluster, joined: Vk, west: str) -> None:
    columns = "/spec/versions/0/additionalPrinterColumns"
    home.patch(CRDS, CRD, [{"op": "remove", "path": f"{columns}/0"}], content_type="application/json-patch+json")
    assert joined("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    (version,) = home.get(CRDS, CRD)["spec"]["versions"]
    assert version["additionalPrinterColumns"][0]["name"] == "Node"


def test_join_writes_the_secret_and_the_member_cluster(home: Cluster, vk: Vk, west: str) -> None:
    result = vk(
        *("join", "west", "--kubeconfig", west, "--no-wait", "--node-name", "west.eu", "--label", "zone=a"),
        *(
            "--taint",
            "gpu=yes:NoSchedule",
            "--capacity",
            "cpu=64",
            "--namespace-prefix",
            "p-",
            "--api-access",
            "Member",
        ),
    )
    assert result.exit_code == 0
    assert result.stdout.startswith("west joined: Kubernetes v1.")
    assert spec(home) == {
        "kubeconfigSecretRef": {"name": "member-west", "namespace": SYSTEM_NAMESPACE, "key": "kubeconfig"},
        "nodeName": "west.eu",
        "labels": {"zone": "a"},
        "taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}],
        "capacity": {"cpu": "64"},
        "namespaceMapping": {"prefix": "p-"},
        "apiAccess": "Member",
    }
    secret = home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)
    assert (secret["type"], secret["metadata"]["labels"]) == ("Opaque", {CLUSTER_LABEL: "west"})
    assert list(secret["data"]) == ["kubeconfig"]


def test_joining_again_keeps_what_no_option_was_given_for(home: Cluster, vk: Vk, west: str) -> None:
    vk("join", "west", "--kubeconfig", west, "--no-wait", "--label", "a=1", "--label", "b=2", "--capacity", "cpu=64")
    result = vk("join", "west", "--kubeconfig", west, "--no-wait", "--label", "a=3")
    assert result.stdout.startswith("west updated: ")
    assert (spec(home)["labels"], spec(home)["capacity"]) == ({"a": "3"}, {"cpu": "64"})


def test_joining_again_renews_the_kubeconfig(home: Cluster, joined: Vk, alpha: Cluster, west: str) -> None:
    before = home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)["data"]
    Path(west).write_text(members.kubeconfig(alpha))  # with another token
    assert joined("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    assert home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)["data"] != before


def test_the_parent_cannot_be_its_own_member(home: Cluster, vk: Vk) -> None:
    assert "parent itself" in error(vk("join", "self", "--kubeconfig", str(home.kubeconfig)))
    assert home.find(SECRETS, "member-self", SYSTEM_NAMESPACE) is None


def test_a_cluster_is_joined_under_one_name_only(joined: Vk, west: str) -> None:
    assert "as west" in error(joined("join", "east", "--kubeconfig", west))


def test_a_name_stands_for_one_cluster_only(joined: Vk, clusters: dict[str, Cluster]) -> None:
    said = error(joined("join", "west", "--kubeconfig", str(clusters["parent"].kubeconfig)))
    assert "another cluster" in said and "unjoin west" in said


def test_a_virtual_node_belongs_to_one_member_only(joined: Vk, clusters: dict[str, Cluster]) -> None:
    other = str(clusters["parent"].kubeconfig)
    assert "belongs to member west" in error(joined("join", "east", "--kubeconfig", other, "--node-name", "west"))


def test_a_node_that_is_not_ours_is_left_alone(home: Cluster, vk: Vk, west: str) -> None:
    taken = home.list(NODES)[0]["metadata"]["name"]
    said = error(vk("join", "west", "--kubeconfig", west, "--node-name", taken))
    assert taken in said and "--node-name" in said


def test_a_secret_that_is_not_ours_is_left_alone(home: Cluster, vk: Vk, west: str) -> None:
    body = {"metadata": {"name": "member-west"}, "stringData": {"mine": "yes"}}
    home.create(SECRETS, body, SYSTEM_NAMESPACE)
    try:
        assert "member-west" in error(vk("join", "west", "--kubeconfig", west))
        assert list(home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)["data"]) == ["mine"]
    finally:
        home.delete(SECRETS, "member-west", SYSTEM_NAMESPACE)


def test_what_the_server_refuses_is_said_in_its_words_and_leaves_nothing(home: Cluster, vk: Vk, west: str) -> None:
    said = error(vk("join", "west", "--kubeconfig", west, "--label", "vk-provider.io/x=y"))
    assert "vk-provider.io/ labels and kubernetes.io/hostname are set by the provider" in said
    assert home.find(SECRETS, "member-west", SYSTEM_NAMESPACE) is None
    assert home.list(MEMBER_CLUSTERS) == []


def test_the_name_of_the_virtual_node_stays(joined: Vk, west: str) -> None:
    assert "nodeName cannot be changed" in error(joined("join", "west", "--kubeconfig", west, "--node-name", "other"))


def test_a_credential_that_may_too_little_is_refused_with_what_it_lacks(vk: Vk, alpha: Cluster, west: str) -> None:
    Path(west).write_text(members.kubeconfig(alpha, account="default"))
    said = error(vk("join", "west", "--kubeconfig", west))
    assert "lacks" in said and "pods" in said and "manifests/member/rbac.yaml" in said


def test_a_credential_that_is_not_accepted_is_refused(vk: Vk, alpha: Cluster, west: str) -> None:
    Path(west).write_text(members.kubeconfig(alpha, token="not-a-token"))
    said = error(vk("join", "west", "--kubeconfig", west))
    assert "does not accept the credential" in said and "not-a-token" not in said


def test_a_member_that_is_leaving_is_not_joined_again(home: Cluster, joined: Vk, west: str) -> None:
    home.patch(MEMBER_CLUSTERS, "west", {"metadata": {"finalizers": [FINALIZER]}})
    home.delete(MEMBER_CLUSTERS, "west")
    assert "is leaving" in error(joined("join", "west", "--kubeconfig", west))


def test_join_without_a_provider_says_how_to_run_one(vk: Vk, west: str) -> None:
    result = vk("join", "west", "--kubeconfig", west, "--timeout", "0.5")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1].endswith("vk-provider run")


def test_join_that_is_to_wait_fails_without_a_provider(vk: Vk, west: str) -> None:
    assert "vk-provider run" in error(vk("join", "west", "--kubeconfig", west, "--wait", "--timeout", "0.5"))


def test_join_says_why_the_member_is_not_ready(home: Cluster, joined: Vk, west: str) -> None:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Unreachable",
        "message": "no answer",
        "lastTransitionTime": "2025-01-01T00:00:00Z",
    }
    generation = home.get(MEMBER_CLUSTERS, "west")["metadata"]["generation"]
    status = {"observedGeneration": generation, "conditions": [condition]}
    home.patch(MEMBER_CLUSTERS, "west", {"status": status}, subresource="status")
    said = joined("join", "west", "--kubeconfig", west, "--timeout", "0.5").stdout
    assert "west is not ready: Unreachable: no answer" in said


# Status.


def test_status_shows_a_member_that_nobody_serves(joined: Vk) -> None:
    header, row = joined("status").stdout.splitlines()
    assert header.split()[:4] == ["NAME", "NODE", "VERSION", "READY"]
    assert row.split()[:5] == ["west", "west", "-", "NotServed", "0/0"]


def test_status_of_an_unknown_name_lists_the_known(joined: Vk) -> None:
    assert error(joined("status", "east")).endswith("the members are: west")


# With a provider.


def test_a_member_from_join_to_unjoin(
    home: Cluster, vk: Vk, west: str, alpha: Cluster, start_provider: Callable[[Path], Provider]
) -> None:
    vk("join", "west", "--kubeconfig", west, "--no-wait")
    start_provider(home.kubeconfig)
    assert vk("join", "west", "--kubeconfig", west, "--wait", "--timeout", "60").stdout.endswith("west is ready\n")
    home.create(PODS, bare("one", node="west"), "default")
    eventually(lambda: phase(home, "one", "default") == "Running", "the pod runs")

    (fact,) = json.loads(vk("status", "west", "-o", "json").stdout)
    assert (fact["ready"], fact["pods"]) == (True, {"running": 1, "total": 1})
    assert fact["allocatable"]["cpu"] == "96"

    result = vk("unjoin", "west", "--yes", "-o", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout) == {"name": "west", "node": "west", "pods": 1, "leftBehind": None}
    assert "1 pod runs on west" in result.stderr
    assert home.find(NODES, "west") is None
    assert home.find(SECRETS, "member-west", SYSTEM_NAMESPACE) is None
    assert phase(home, "one", "default") == "absent"
    assert members.remains(alpha, "west") == set()


# Unjoin without one.


def test_unjoin_without_a_provider_cleans_up_the_parent_and_says_what_may_be_left(home: Cluster, joined: Vk) -> None:
    served_node(home)
    result = joined("unjoin", "west", "--yes")
    assert result.exit_code == 0
    assert result.stdout.startswith("west has left\n1 pod")
    assert "default: without a controller" in result.stderr
    for resource, name, namespace in (
        (MEMBER_CLUSTERS, "west", ""),
        (NODES, "west", ""),
        (PODS, "left", "default"),
        (SECRETS, "member-west", SYSTEM_NAMESPACE),
    ):
        assert home.find(resource, name, namespace) is None


def test_unjoin_tells_programs_what_may_be_left(home: Cluster, joined: Vk) -> None:
    served_node(home)
    said: dict[str, Any] = json.loads(joined("unjoin", "west", "--yes", "-o", "json").stdout)
    assert said["leftBehind"]["pods"] == 1


def test_unjoin_of_an_unknown_name_lists_the_known(joined: Vk) -> None:
    assert error(joined("unjoin", "east", "--yes")).endswith("the members are: west")


@pytest.mark.parametrize(("answer", "code", "stays"), [("n\n", 1, True), ("\n", 1, True), ("y\n", 0, False)])
def test_unjoin_asks(home: Cluster, joined: Vk, answer: str, code: int, stays: bool) -> None:
    terminal, stdin = pty.openpty()
    command = [sys.executable, "-m", "vk_provider", "--kubeconfig", str(home.kubeconfig), "unjoin", "west"]
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.write(terminal, answer.encode())
        _, said = process.communicate(timeout=60)
    os.close(stdin)
    os.close(terminal)
    assert "Unjoin west? [y/N]" in said
    assert (process.returncode, home.find(MEMBER_CLUSTERS, "west") is not None) == (code, stays)
