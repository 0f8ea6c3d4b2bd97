"""The scenes of the demo as tests, in its order, because each scene continues the previous one."""

from __future__ import annotations

import pytest
from demo.scenes import SCENES, Scene
from demo.world import World


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.play.__name__)
def test_scene(world: World, scene: Scene) -> None:
    assert scene.play(world)
