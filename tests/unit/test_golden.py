"""Every folder of `golden/` is one rule of the translation: a pod of the parent, and the wanted member pod.

`target.yaml` may set apiAccess, prefix, parentHost and parentPort. The files are written by hand: no test
writes them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.pods import as_pod, read_target, read_yaml
from vk_provider.translate.pods.pod import member_pod

FOLDERS = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_member_gets_the_golden_manifest(folder: Path) -> None:
    parent = as_pod(read_yaml(folder / "parent.yaml"))
    assert member_pod(parent, read_target(folder)) == read_yaml(folder / "member.yaml")
