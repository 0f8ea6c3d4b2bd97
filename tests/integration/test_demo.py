"""The demo without root, on fake nodes. tests/e2e/test_demo.py runs it on real ones."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from demo.scenes import SCENES
from demo.world import served


def test_every_scene_succeeds_or_names_what_fake_nodes_cannot_show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)  # without root, clusters share the loopback interface
    with served(tmp_path, real=False) as world:
        seen = {scene.play.__name__: scene.play(world) for scene in SCENES}
    skipped = {name for name, outcome in seen.items() if outcome.startswith("skipped:")}
    assert skipped == {"kubelet_api", "top", "lost", "back"}
    assert all(seen.values())
