"""What the demo shows, as tests; in its order, since each scene goes on where the one before it ended."""

from __future__ import annotations

import pytest
from demo.scenes import SCENES, Scene
from demo.world import World


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.play.__name__)
def test_scene(world: World, scene: Scene) -> None:
    assert scene.play(world)
