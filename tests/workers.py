"""A pytest plugin: which tests share a worker of pytest-xdist (`-n 4 --dist loadgroup`), and which begin first.

Most of a test's time is waiting, so several workers share two cores. Each has clusters, a provider and a state
directory of its own, made when its first test asks for them. A module stays in one worker, since its tests may stop
the provider or cut a network; what uses the real nodes stays together too, because there is one set of them.
"""

from __future__ import annotations

from typing import Final

import pytest

# Longest first, so that no worker is left with one of these at the end; from the table that a long run prints.
FIRST: Final = ("real nodes",)
# Each test makes what it needs: any worker may take any of them.
_ALONE: Final = ("tests/e2e/test_localkube.py",)


def group(item: pytest.Item) -> str:
    """The group of a test: that of its `xdist_group` mark, else what it shares with others."""
    mark = item.get_closest_marker("xdist_group")
    if mark is not None:
        return str(mark.kwargs.get("name") or mark.args[0])
    if "world" in getattr(item, "fixturenames", ()):
        return "real nodes"
    module = item.nodeid.partition("::")[0]
    return item.nodeid if module in _ALONE else module


def rank(name: str) -> tuple[int, bool]:
    """Groups begin in this order: the long ones, then the others as they are collected, and unit tests last."""
    return FIRST.index(name) if name in FIRST else len(FIRST), name.startswith("tests/unit/")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the marks at the same moment
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not hasattr(config, "workerinput"):
        return  # all of them one after the other, as they were collected
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: rank(group(item)))
