"""A parent and two members with real nodes, joined and served, for the whole session."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import localkube
import pytest
from demo.world import World, bring_up


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The clusters of the demo in a state directory of their own."""
    root = Path(tmp_path_factory.mktemp("localkube"))
    try:
        with localkube.on_stderr() as progress:
            world = bring_up(real=True, progress=progress, root=root)
        for member in world.members:
            world.join(member)
        world.start_provider()
        world.until("both virtual nodes are Ready", world.ready)
        yield world
        world.stop_provider()
    finally:
        localkube.down(root=root)


@pytest.fixture
def namespace(world: World) -> Iterator[str]:
    """A namespace of the parent for one test; gone from the members too when it ends."""
    name = f"t-{uuid.uuid4().hex[:8]}"
    world.kubectl("create", "namespace", name)
    yield name
    world.kubectl("delete", "namespace", name, "--wait=false")
