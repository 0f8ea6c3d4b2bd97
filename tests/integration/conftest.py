"""Fixtures of the integration tests: a node with the test as its kubelet, and connections that can be cut."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Final

import pytest
import uvloop

from tests import members
from tests.cluster import Cluster, Json
from tests.integration import idle
from tests.integration.commands import home as home
from tests.integration.commands import joined as joined
from tests.integration.commands import vk as vk
from tests.integration.commands import west as west
from tests.integration.connecting import client_through
from tests.integration.ways import Ways, two_ways
from tests.provider import Provider
from tests.proxy import Proxy
from vk_provider.kube.client import Client

_numbers = itertools.count(1)

_LOOPS: Final = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
_ON_BOTH: Final = {"test_kubelet_slow_readers", "test_kubelet_streams"}  # modules


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Runs modules that depend on how an event loop closes connections on both loops that the provider supports."""
    return _LOOPS if item.path.stem in _ON_BOTH else {"asyncio": _LOOPS["asyncio"]}


@pytest.fixture(scope="module")
def beta_served(parent: Cluster, beta: Cluster, _session_provider: Provider) -> Iterator[Cluster]:
    """`beta` is a served member for all tests of a module."""
    _session_provider.start()
    members.join(parent, "beta", members.kubeconfig(beta))
    members.wait_until_served(parent, "beta", 90)
    yield beta
    _session_provider.start()
    members.unjoin(parent, "beta", 90)


@pytest.fixture
def idle_node(alpha: Cluster) -> Iterator[Json]:
    """A Ready node of `alpha` for `idle` pods: only the test starts, ends or deletes them.

    kwok cannot be used for pods that are recreated with the same name: it deletes by name, twice, and so may delete
    the next pod.
    """
    name = f"idle-{next(_numbers)}"  # the node controller remembers the last heartbeat of a name
    with idle.idle_node(alpha, name) as node:
        yield node


@pytest.fixture(scope="module")
def ways(
    parent: Cluster, alpha: Cluster, _session_provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Ways]:
    """Links between a provider of the module and its API servers. The session's provider is stopped."""
    _session_provider.stop()
    with two_ways(parent, alpha, tmp_path_factory.mktemp("ways")) as found:
        yield found


@pytest.fixture
async def proxy(parent: Cluster) -> AsyncIterator[Proxy]:
    """A proxy for the parent."""
    async with Proxy(parent.info.address, int(parent.server.rpartition(":")[2])) as found:
        yield found


@pytest.fixture
async def client(parent: Cluster, proxy: Proxy) -> AsyncIterator[Client]:
    """A client of the parent, through the proxy."""
    async with client_through(parent, proxy) as found:
        yield found
