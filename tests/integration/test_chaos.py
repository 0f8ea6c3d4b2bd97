"""Two minutes of the long randomized run (`make chaos`), with clusters of its own."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos import driver
from tests.chaos.world import bring_up

SECONDS = 120.0


@pytest.mark.timeout(900)
def test_whatever_users_strangers_and_faults_do_the_invariants_hold(tmp_path: Path) -> None:
    """The seed is another one each time; what it did is printed, and `make chaos ARGS="--seed N"` does it again."""
    seed = random.randrange(2**31)
    said: list[str] = []
    with bring_up(tmp_path, seed) as world:
        outcome = driver.play(world, seed, SECONDS, said.append)
    assert outcome.found == [], "\n".join(said)
    assert outcome.pods > 20 and outcome.containers > 20, "too little happened for this to mean anything"
