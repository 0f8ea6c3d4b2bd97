"""Every folder of `golden_status/` is one rule of the status: parent pod, member pod, wanted status of the parent pod.

The files are written by hand: no test writes them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.merge import apply_status
from tests.unit.pods import as_pod, read_yaml
from vk_provider.translate.pods.status import reflected, status_patch

NOW = "2026-03-01T12:00:00Z"
FOLDERS = sorted(path for path in (Path(__file__).parent / "golden_status").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_parent_gets_the_golden_status(folder: Path) -> None:
    parent, member = (as_pod(read_yaml(folder / f"{side}.yaml")) for side in ("parent", "member"))
    assert reflected(parent, member, now=NOW) == read_yaml(folder / "wanted.yaml")


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_written_status_needs_no_further_patch(folder: Path) -> None:
    parent, member = (as_pod(read_yaml(folder / f"{side}.yaml")) for side in ("parent", "member"))
    parent = apply_status(parent, status_patch(parent, reflected(parent, member, now=NOW)))
    assert status_patch(parent, reflected(parent, member, now="2026-03-01T13:00:00Z")) is None
