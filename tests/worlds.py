"""The clusters of the demo in a state directory of their own: a parent and two members, joined and served."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import localkube
from demo.world import World, bring_up


@contextmanager
def served(root: Path, *, real: bool) -> Iterator[World]:
    """With real nodes or with fake ones; everything is gone afterwards."""
    try:
        with localkube.on_stderr() as progress:
            world = bring_up(real=real, progress=progress, root=root)
        for member in world.members:
            world.join(member)
        world.start_provider()
        world.until("both virtual nodes are Ready", world.ready)
        yield world
        world.stop_provider()
    finally:
        localkube.down(root=root)
