"""Real clusters, a running provider and new namespaces, for every test that requests them.

`clusters` is started once per session, in its own state directory, and always removed at the end:
`parent` without nodes, `alpha` and `beta` with fake ones. Every API server writes an audit log.
"""

from __future__ import annotations

import asyncio
import itertools
import re
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import localkube
import pytest

from tests import members
from tests.cluster import Cluster
from tests.provider import Provider
from tests.waiting import eventually
from vk_provider.kube.resources import NAMESPACES, SERVICE_ACCOUNTS

pytest_plugins = ["tests.timetable", "tests.workers"]

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Restores the default handler of SIGINT, and removes the current event loop.

    A shell starts background jobs with SIGINT ignored, and the programs that a test starts and interrupts inherit that.

    Without an explicit event loop, Python creates one when pytest-asyncio requests it before a test. It is never
    closed, and the resulting warning fails an unrelated test that runs its own loop.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    asyncio.set_event_loop(None)


@pytest.fixture(scope="session")
def clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Cluster]]:
    root = tmp_path_factory.mktemp("localkube")
    handles: dict[str, Cluster] = {}
    try:
        made = localkube.up(["parent", "alpha:fake=3", "beta:fake=2,cpu=8,memory=16Gi"], audit=True, root=root)
        handles |= {name: Cluster(info, root) for name, info in made.items()}
        yield handles
    finally:
        for handle in handles.values():
            handle.close()
        localkube.down(root=root)


@pytest.fixture(scope="session")
def parent(clusters: dict[str, Cluster]) -> Cluster:
    """The parent, with the CRD MemberCluster."""
    members.install(clusters["parent"])
    return clusters["parent"]


@pytest.fixture(scope="session")
def alpha(clusters: dict[str, Cluster]) -> Cluster:
    """Three fake nodes of 32 CPUs; a service account for the provider exists."""
    members.grant(clusters["alpha"])
    return clusters["alpha"]


@pytest.fixture(scope="session")
def beta(clusters: dict[str, Cluster]) -> Cluster:
    """Two fake nodes of 8 CPUs; a service account for the provider exists. Only some tests join it as a member."""
    members.grant(clusters["beta"])
    return clusters["beta"]


@pytest.fixture
def start_provider(tmp_path: Path) -> Iterator[Callable[[Path], Provider]]:
    """Starts a provider for the parent of a kubeconfig, and stops it after the test."""
    started: list[Provider] = []

    def start(kubeconfig: Path) -> Provider:
        provider = Provider(kubeconfig, tmp_path / f"provider-{len(started)}.log")
        started.append(provider)
        provider.start()
        return provider

    yield start
    for provider in started:
        provider.stop()


@pytest.fixture(scope="session")
def _session_provider(parent: Cluster, alpha: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Provider]:
    members.join(parent, "alpha", members.kubeconfig(alpha))
    provider = Provider(parent.kubeconfig, tmp_path_factory.mktemp("provider") / "provider.log")
    yield provider
    provider.stop()


@pytest.fixture
def provider(_session_provider: Provider, parent: Cluster) -> Iterator[Provider]:
    """The provider of `parent`. It runs and serves `alpha`. A test may kill it. One process for the whole session."""
    _session_provider.start()
    members.wait_until_served(parent, "alpha", 60)
    yield _session_provider
    assert not _session_provider.crashed, "the provider has exited by itself"


@pytest.fixture
def namespace(parent: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A new namespace of the parent, in which pods can be created. It is deleted after the test."""
    stem = re.sub("[^a-z0-9]+", "-", str(request.node.name).removeprefix("test_").lower())
    name = f"{stem[:30].strip('-')}-{next(_numbers)}"
    parent.create(NAMESPACES, {"metadata": {"name": name}})
    eventually(lambda: parent.find(SERVICE_ACCOUNTS, "default", name), f"namespace {name} has its service account")
    yield name
    parent.delete(NAMESPACES, name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the end of the provider's log to the report of a failed test."""
    report = yield
    provider = getattr(item, "funcargs", {}).get("provider")
    if report.failed and isinstance(provider, Provider):
        report.sections.append(("end of the provider's log", provider.log[-8000:]))
    return report
