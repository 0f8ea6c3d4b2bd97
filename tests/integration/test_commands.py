"""The commands status and unjoin, and a member from join to unjoin, against real API servers.

`beta` is the parent here: no provider serves it unless a test starts one. `alpha` is the member.
"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import command_line, members
from tests.cluster import Cluster
from tests.integration.commands import Vk, error
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import bare, phase
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.api.wellknown import CLUSTER_LABEL, FINALIZER, SYSTEM_NAMESPACE
from vk_provider.kube.resources import NODES, PODS, SECRETS


def served_node(home: Cluster) -> None:
    """Creates the objects of a provider that no longer runs: the finalizer, the Node, and a pod on it."""
    home.patch(MEMBER_CLUSTERS, "west", {"metadata": {"finalizers": [FINALIZER]}})
    home.create(NODES, {"metadata": {"name": "west", "labels": {CLUSTER_LABEL: "west"}}})
    home.create(PODS, bare("left", node="west"), "default")


# A parent without the CRD MemberCluster (alpha).


def test_status_of_a_parent_without_members_names_join(alpha: Cluster) -> None:
    result = command_line.vk("--kubeconfig", str(alpha.kubeconfig), "status")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "vk-provider join" in result.stderr


def test_status_of_a_parent_without_members_is_an_empty_list(alpha: Cluster) -> None:
    assert command_line.vk("--kubeconfig", str(alpha.kubeconfig), "status", "-o", "json").stdout.strip() == "[]"


@pytest.mark.parametrize("args", [["run"], ["status", "west"], ["unjoin", "west", "--yes"]])
def test_the_error_about_a_parent_without_members_names_join(alpha: Cluster, args: list[str]) -> None:
    assert "join" in error(command_line.vk("--kubeconfig", str(alpha.kubeconfig), *args))


# Status.


def test_status_shows_a_member_that_is_not_served(joined: Vk) -> None:
    header, row = joined("status").stdout.splitlines()
    assert header.split()[:4] == ["NAME", "NODE", "VERSION", "READY"]
    assert row.split()[:5] == ["west", "west", "-", "NotServed", "0/0"]


def test_the_error_of_status_about_an_unknown_member_lists_all_members(joined: Vk) -> None:
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


# Unjoin without a provider.


def test_unjoin_without_a_provider_cleans_up_the_parent_and_reports_possible_leftovers(
    home: Cluster, joined: Vk
) -> None:
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


def test_unjoin_reports_possible_leftovers_as_json(home: Cluster, joined: Vk) -> None:
    served_node(home)
    output: dict[str, Any] = json.loads(joined("unjoin", "west", "--yes", "-o", "json").stdout)
    assert output["leftBehind"]["pods"] == 1


def test_the_error_of_unjoin_about_an_unknown_member_lists_all_members(joined: Vk) -> None:
    assert error(joined("unjoin", "east", "--yes")).endswith("the members are: west")


@pytest.mark.parametrize(("answer", "code", "stays"), [("n\n", 1, True), ("\n", 1, True), ("y\n", 0, False)])
def test_unjoin_asks_for_confirmation(home: Cluster, joined: Vk, answer: str, code: int, stays: bool) -> None:
    terminal, stdin = pty.openpty()
    command = [sys.executable, "-m", "vk_provider", "--kubeconfig", str(home.kubeconfig), "unjoin", "west"]
    with subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        os.write(terminal, answer.encode())
        _, output = process.communicate(timeout=60)
    os.close(stdin)
    os.close(terminal)
    assert "Unjoin west? [y/N]" in output
    assert (process.returncode, home.find(MEMBER_CLUSTERS, "west") is not None) == (code, stays)
