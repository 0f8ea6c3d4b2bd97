"""What only integration tests need: a node of a member whose kubelet is the test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from tests import members
from tests.cluster import Cluster, Json
from tests.integration import idle
from tests.provider import Provider

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def beta_served(parent: Cluster, beta: Cluster, _session_provider: Provider) -> Iterator[Cluster]:
    """`beta` is a member too, for all tests of a module."""
    _session_provider.start()
    members.join(parent, "beta", members.kubeconfig(beta))
    members.wait_until_served(parent, "beta", 90)
    yield beta
    _session_provider.start()
    members.unjoin(parent, "beta", 90)


@pytest.fixture
def idle_node(alpha: Cluster) -> Iterator[Json]:
    """A Ready node of `alpha` for `idle` pods: nobody starts, ends or removes them but the test.

    kwok is no match for pods that come back under the same name: it deletes by name, twice, and meets the next one.
    """
    name = f"idle-{next(_numbers)}"  # the node controller remembers how long a name has been silent
    with idle.idle_node(alpha, name) as node:
        yield node
