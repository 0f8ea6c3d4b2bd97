"""The parent control group of a real node's pods, on machines that mount cgroup v1, v2 or both."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from .errors import LocalkubeError

_V2_CONTROLLERS = ("cpu", "cpuset", "io", "memory", "pids", "hugetlb")


def create(name: str) -> None:
    """Creates the group in every hierarchy: the kubelet requires its root group in each of them."""
    v1 = _mounts("cgroup")
    for hierarchy in v1:
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if (group / setting).exists():  # a new cpuset is empty, and no process can run in it
                (group / setting).write_text((hierarchy / setting).read_text())
    if not v1:
        for hierarchy in _mounts("cgroup2"):
            (hierarchy / name).mkdir(exist_ok=True)
            _delegate(hierarchy)
            _delegate(hierarchy / name)


def remove(prefix: str) -> None:
    """Removes all groups with this name prefix, and their subgroups. Kill their processes first."""
    end = time.monotonic() + 15
    while left := [
        group for mount in _mounts("cgroup", "cgroup2") for group in mount.glob(f"{prefix}*") if group.is_dir()
    ]:
        for group in left:
            for directory in sorted(filter(Path.is_dir, group.rglob("*")), reverse=True):
                _remove_empty(directory)
            _remove_empty(group)
        if time.monotonic() > end:
            raise LocalkubeError(f"control group {left[0]} is still in use; its file cgroup.procs lists the processes")
        time.sleep(0.02)


def _remove_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):  # busy until the last process has been reaped: the caller retries
        directory.rmdir()


def _delegate(group: Path) -> None:
    available = (group / "cgroup.controllers").read_text().split()
    for controller in _V2_CONTROLLERS:
        if controller in available:
            (group / "cgroup.subtree_control").write_text(f"+{controller}")


def _mounts(*types: str) -> list[Path]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return list(dict.fromkeys(Path(fields[1]) for fields in lines if fields[2] in types))
