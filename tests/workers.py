"""A pytest plugin: assigns tests to workers of pytest-xdist (`pytest -n 4`), and determines their order.

Tests wait most of the time, so several workers share two cores. Each worker has its own clusters, provider and state
directory, which are created when its first test requests them. All tests of a module run in one worker, because they
may stop the provider or cut a network. All tests with real nodes run in one worker, because there is one set of them.
"""

from __future__ import annotations

from typing import Final

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

REAL_NODES: Final = "real nodes"
# Modules that are grouped by their first parameter, so that both sides wait for timeouts at the same time.
BY_SIDE: Final = ("tests/integration/test_faults.py",)
# Modules with independent tests: any worker may run any of them.
APART: Final = (
    "tests/e2e/test_localkube.py",
    "tests/integration/test_backups.py",
    "tests/integration/test_confirmations.py",
    "tests/integration/test_failover.py",
    "tests/integration/test_member_edits.py",
)
# The longest groups run first, so that no worker starts one of them at the end. See the table at the end of a long run.
FIRST: Final = (
    REAL_NODES,
    "tests/integration/test_faults.py of the member",
    "tests/integration/test_parent_outage.py",
    "tests/integration/test_faults.py of the parent",
    "tests/integration/test_chaos.py",
    "tests/integration/test_plan_failover.py",
)


def group(test: str) -> str:
    """The group of a test, from its node id. The tests of a group run in one worker, one after the other."""
    module = test.partition("::")[0]
    if module in APART:
        return test
    if module in BY_SIDE:
        return f"{module} of the {test.partition('[')[2].partition('-')[0]}"
    return REAL_NODES if module.startswith("tests/e2e/") else module


def rank(test: str) -> int:
    """The order of the groups: long ones, modules in APART, others in the order of collection, unit tests last."""
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
    config.option.loadscopereorder = False  # not by the number of tests
    return ByGroup(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if hasattr(config, "workerinput"):  # without workers, the order is that of the collection
        items.sort(key=lambda item: rank(item.nodeid))
