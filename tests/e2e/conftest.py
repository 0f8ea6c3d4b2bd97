"""A parent and two members with real nodes, joined and served, for the whole session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import pytest
from demo.world import World, served


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The clusters of all tests of the session."""
    with served(tmp_path_factory.mktemp("localkube"), real=True) as found:
        yield found


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    """A namespace of the parent for one test. It is deleted afterwards, also in the members."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    world.kubectl("create", "namespace", name)
    yield name
    world.kubectl("delete", "namespace", name, "--wait=false")
