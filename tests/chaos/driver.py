"""Rounds: a plan is carried out, everything heals and settles; the invariants are checked all the time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from tests.chaos.history import PARENT
from tests.chaos.invariants import ALWAYS, AT_REST, violations
from tests.chaos.plan import plan
from tests.chaos.world import World

Say = Callable[[str], None]

ROUND: Final = 240.0  # seconds of a round's plan
SETTLES: Final = 240.0  # seconds until everything must have come to rest after the last fault
_CHECK_EVERY: Final = 5.0  # seconds
_LOOK: Final = 0.5  # seconds
_TELL_EVERY: Final = 10.0  # seconds, while it does not settle


@dataclass(frozen=True)
class Outcome:
    """Of a round. `found`: what must never be seen, and was; `seconds`: until it had settled.

    `pods` of the parent and `containers` have been seen so far, over all rounds.
    """

    seed: int
    steps: int
    seconds: float
    pods: int
    containers: int
    found: list[str]

    def __str__(self) -> str:
        found = f"{len(self.found)} FOUND" if self.found else "nothing found"
        seen = f"{self.pods} pods and {self.containers} containers seen"
        return f"seed {self.seed}: {self.steps} steps, {seen}, settled in {self.seconds:.0f} s, {found}"


def run(world: World, seed: int, seconds: float, say: Say, *, faults: bool = True) -> list[Outcome]:
    """Rounds of `ROUND` seconds until the time is over, with seeds from `seed` on. Stops when something is found."""
    outcomes: list[Outcome] = []
    while seconds > 0:
        outcome = play(world, seed + len(outcomes), min(seconds, ROUND), say, faults=faults)
        outcomes.append(outcome)
        seconds -= ROUND
        if outcome.found:
            break
    return outcomes


def play(world: World, seed: int, seconds: float, say: Say, *, faults: bool = True) -> Outcome:
    """One round. Everything that is done is said."""
    say(f"round of {seconds:.0f} s, seed {seed}")
    steps = plan(seed, seconds, faults=faults)
    started = checked = time.monotonic()
    found: list[str] = []
    for step in steps:
        while (left := started + step.at - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK))
        say(f"{time.monotonic() - started:7.2f} | {step} | {world.perform(step)}")
        if time.monotonic() - checked > _CHECK_EVERY:
            checked = time.monotonic()
            if found := violations(world.history.copy(), ALWAYS):
                break
    world.heal()
    say("healed")
    healed = time.monotonic()
    found += _settle(world, say)
    settled = time.monotonic() - healed
    say(f"settled after {settled:.0f} s")
    history = world.history.copy()
    found = list(dict.fromkeys([*found, *violations(history, AT_REST), *world.defects()]))
    for text in found:
        say(f"FOUND {text}")
        for line in history.about(text):
            say(f"    {line}")
    pods = len({seen.uid for seen in history.of(PARENT)})
    return Outcome(seed, len(steps), settled, pods, len(history.containers), found)


def _settle(world: World, say: Say) -> list[str]:
    """What is still not as it must be at the deadline."""
    started = told = time.monotonic()
    while problems := world.problems():
        now = time.monotonic()
        if now - started > SETTLES:
            return problems
        if now - told > _TELL_EVERY:
            told = now
            say(f"{now - started:7.2f} | {len(problems)} not settled: {'; '.join(problems[:5])}")
        time.sleep(_LOOK)
    return []
