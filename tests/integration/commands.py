"""Fixtures of the tests that run commands against real API servers.

`beta` is the parent there: no provider serves it, and only `join` creates MemberClusters in it. `alpha` is the member.
`clusters["parent"]` is another cluster that can become one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest
from click.testing import Result

from tests import command_line, members
from tests.cluster import Cluster
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.api.wellknown import CLUSTER_LABEL, SYSTEM_NAMESPACE
from vk_provider.cli.install import definition
from vk_provider.kube.resources import CRDS, NODES, SECRETS

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
    """The MemberCluster west exists, and no provider serves it."""
    assert vk("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    return vk


def error(result: Result) -> str:
    assert result.exit_code == 1, result.output
    line: str = result.stderr.splitlines()[-1]
    assert line.startswith("error: ")
    return line
