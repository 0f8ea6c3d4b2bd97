"""Two minutes of the long randomized run (`make chaos`), with clusters of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from tests.chaos import driver
from tests.chaos.world import bring_up

SECONDS: Final = 120.0
SEED: Final = 400


@pytest.mark.timeout(900)
def test_whatever_users_strangers_and_faults_do_the_invariants_hold(tmp_path: Path) -> None:
    """The same plan each time; `make chaos` plays others, and for longer. What was done is printed where one breaks."""
    said: list[str] = []
    with bring_up(tmp_path, SEED) as world:
        outcome = driver.play(world, SEED, SECONDS, said.append)
    assert outcome.found == [], "\n".join(said)
    assert outcome.pods > 20 and outcome.containers > 20, "too little happened for this to mean anything"
