"""Two minutes of the long randomized run (`make chaos`), with its own clusters."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.chaos import driver
from tests.chaos.setup import bring_up

SECONDS: Final = 120.0
SEED: Final = 400
# What other clients and controllers do to the provider and its members, and the faults of servers and nodes.
REQUIRED: Final = frozenset(
    {"delete node", "cloud deletes node", "delete member namespace", "replace token", "reconnect"}
    | {"token expired", "no rights", "fewer rights", "401", "403", "redirect", "1 Mbit/s", "flood"}
    | {"drained", "silent", "isolated", "crashed", "removed"}
)


@pytest.mark.timeout(900)
def test_the_invariants_hold_for_all_actions_of_users_other_clients_and_faults(tmp_path: Path) -> None:
    """The plan is always the same. `make chaos` runs others for a longer time. A violation prints all steps."""
    log: list[str] = []
    with bring_up(tmp_path, SEED) as world:
        (outcome,) = driver.run(world, SEED, SECONDS, log.append)
    assert outcome.found == [], "\n".join(log)
    assert outcome.pods > 20 and outcome.containers > 20, "the run contains too few pods to be meaningful"
    assert set(outcome.effects) >= REQUIRED, f"without effect: {sorted(REQUIRED - set(outcome.effects))}"
