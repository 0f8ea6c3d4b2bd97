"""`python -m tests.chaos`: prints each step. The exit code is 1 if it finds a violation."""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.chaos import driver
from tests.chaos.setup import bring_up

_PACE_OF_REAL_NODES = 4.0  # containers start slowly


def main() -> int:
    parser = argparse.ArgumentParser(prog="make chaos ARGS=...", description="A long randomized run with faults.")
    parser.add_argument("--seconds", type=float, default=3600.0, help="duration (default: an hour)")
    parser.add_argument("--seed", type=int, default=None, help="seed of the first round; a seed repeats the same steps")
    parser.add_argument("--real", action="store_true", help="the members run containers (needs root)")
    parser.add_argument("--no-faults", action="store_true", help="only actions of users and other clients")
    arguments = parser.parse_args()
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed
    root = Path(tempfile.mkdtemp(prefix="vk-chaos-"))
    print(f"seed {seed}; the provider's log is in {root}", flush=True)
    with bring_up(root, seed, real=arguments.real) as world:
        outcomes = driver.run(
            world,
            seed,
            arguments.seconds,
            lambda text: print(text, flush=True),
            faults=not arguments.no_faults,
            pace=_PACE_OF_REAL_NODES if arguments.real else 1.0,
        )
    for outcome in outcomes:
        print(outcome)
    print("effects:", ", ".join(f"{name} {number}" for name, number in sorted(outcomes[-1].effects.items())))
    if any(outcome.found for outcome in outcomes):
        return 1
    shutil.rmtree(root)
    return 0


if __name__ == "__main__":
    sys.exit(main())
