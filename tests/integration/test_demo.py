"""The demo as those see it who are not root: on fake nodes. With real ones it is tests/e2e/test_demo.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from demo.scenes import SCENES
from demo.world import served


def test_every_scene_holds_or_says_what_fake_nodes_cannot_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # whose clusters share the loopback
    with served(tmp_path, real=False) as world:
        seen = {scene.play.__name__: scene.play(world) for scene in SCENES}
    skipped = {name for name, said in seen.items() if said.startswith("skipped:")}
    assert skipped == {"kubelet_api", "top", "lost", "back"}
    assert all(seen.values())
