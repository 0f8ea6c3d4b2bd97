"""A pytest plugin: which tests share a worker of pytest-xdist (`pytest -n 4`), and which begin first.

Most of a test's time is waiting, so several workers share two cores. Each has clusters, a provider and a state
directory of its own, made when its first test asks for them. A module stays in one worker, since its tests may stop
the provider or cut a network; what uses the real nodes stays together too, because there is one set of them.
"""

from __future__ import annotations

from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

REAL_NODES: Final = "real nodes"
# Modules in groups by their first parameter: one side's silence is waited for while the other's is.
BY_SIDE: Final = ("tests/integration/test_faults.py",)
# Modules none of whose tests needs another: any worker may take any of them.
APART: Final = (
    "tests/e2e/test_localkube.py",
    "tests/integration/test_backups.py",
    "tests/integration/test_confirmations.py",
    "tests/integration/test_failover.py",
    "tests/integration/test_member_edits.py",
)
# Longest first, so that no worker is left with one of these at the end; from the table that a long run prints.
FIRST: Final = (
    REAL_NODES,
    "tests/integration/test_faults.py of the member",
    "tests/integration/test_parent_outage.py",
    "tests/integration/test_faults.py of the parent",
    "tests/integration/test_chaos.py",
    "tests/integration/test_plan_failover.py",
)


def group(test: str) -> str:
    """The group of a test, by its node id: all of a group runs in one worker, one after the other."""
    module = test.partition("::")[0]
    if module in APART:
        return test
    if module in BY_SIDE:
        return f"{module} of the {test.partition('[')[2].partition('-')[0]}"
    return REAL_NODES if module.startswith("tests/e2e/") else module


def rank(test: str) -> int:
    """Groups begin in this order: the long ones, what is apart, the others as they are collected, unit tests last."""
    name = group(test)
    if name in FIRST:
        return FIRST.index(name)
    return len(FIRST) + (0 if name.startswith(APART) else 2 if name.startswith("tests/unit/") else 1)


class ByGroup(LoadScopeScheduling):  # type: ignore[misc]  # it has no types
    """Assigns the next group to a worker that has at most two tests left."""

    def _split_scope(self, nodeid: str) -> str:
        return group(nodeid)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByGroup:
    config.option.loadscopereorder = False  # not by how many tests they have
    return ByGroup(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # without workers they run as they were collected
        items.sort(key=lambda item: rank(item.nodeid))
