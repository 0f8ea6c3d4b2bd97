"""Rounds: performs a plan, heals all faults, waits until all is in sync, and checks the invariants throughout."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.history import PARENT
from tests.chaos.invariants import ALWAYS, WHEN_IN_SYNC, violations
from tests.chaos.leaving import leave
from tests.chaos.plan import plan
from tests.chaos.world import World

Log = Callable[[str], None]

ROUND: Final = 240.0  # seconds of a round's plan
SYNC_DEADLINE: Final = 240.0  # seconds after the last fault until everything must be in sync
_CHECK_EVERY: Final = 5.0  # seconds
_POLL: Final = 0.5  # seconds
_LOG_EVERY: Final = 10.0  # seconds, while something is out of sync


@dataclass(frozen=True)
class Outcome:
    """The outcome of a round. `found`: the violations; `seconds`: from the end of the faults until all was in sync.

    `pods` of the parent, `containers`, `taken` (pods that the garbage collection of pods removed by force) and
    `effects` (actions and faults that had an effect) are counts over all rounds so far.
    """

    seed: int
    steps: int
    seconds: float
    pods: int
    containers: int
    found: list[str]
    taken: int = 0
    effects: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        found = f"{len(self.found)} VIOLATIONS" if self.found else "no violation"
        seen = f"{self.pods} pods and {self.containers} containers observed, {self.taken} pods lost with their Node"
        return f"seed {self.seed}: {self.steps} steps, {seen}, in sync after {self.seconds:.0f} s, {found}"


def run(world: World, seed: int, seconds: float, log: Log, *, faults: bool = True, pace: float = 1.0) -> list[Outcome]:
    """Plays rounds of `ROUND` seconds for `seconds`, with seeds from `seed` on. Stops after the first violation.

    At the end, the members leave.
    """
    outcomes: list[Outcome] = []
    while seconds > 0:
        outcome = play(world, seed + len(outcomes), min(seconds, ROUND), log, faults=faults, pace=pace)
        outcomes.append(outcome)
        seconds -= ROUND
        if outcome.found:
            return outcomes
    log("the members leave")
    for text in (left := leave(world)):
        log(f"VIOLATION {text}")
    outcomes[-1].found.extend(left)
    return outcomes


def play(world: World, seed: int, seconds: float, log: Log, *, faults: bool = True, pace: float = 1.0) -> Outcome:
    """Plays one round. Logs every step."""
    log(f"round of {seconds:.0f} s, seed {seed}")
    steps = plan(seed, seconds, faults=faults, pace=pace)
    started = checked = time.monotonic()
    found: list[str] = []
    for step in steps:
        while (left := started + step.at - time.monotonic()) > 0:
            time.sleep(min(left, _POLL))
        log(f"{time.monotonic() - started:7.2f} | {step} | {world.perform(step)}")
        if time.monotonic() - checked > _CHECK_EVERY:
            checked = time.monotonic()
            if found := violations(world.history.copy(checked), ALWAYS):
                break
    world.heal()
    log("healed")
    healed = time.monotonic()
    found += _wait_until_in_sync(world, log)
    synced = time.monotonic() - healed
    log(f"in sync after {synced:.0f} s")
    history = world.history.copy(time.monotonic())
    found = list(dict.fromkeys([*found, *violations(history, WHEN_IN_SYNC), *world.defects()]))
    for text in found:
        log(f"VIOLATION {text}")
        for line in history.about(text):
            log(f"    {line}")
    pods = len({seen.uid for seen in history.of(PARENT)})
    effects = dict(world.effects)
    return Outcome(seed, len(steps), synced, pods, len(history.containers), found, len(history.taken), effects)


def _wait_until_in_sync(world: World, log: Log) -> list[str]:
    """Returns the differences that are left at the deadline."""
    started = logged = time.monotonic()
    while problems := world.problems():
        now = time.monotonic()
        if now - started > SYNC_DEADLINE:
            return problems
        if now - logged > _LOG_EVERY:
            logged = now
            log(f"{now - started:7.2f} | {len(problems)} out of sync: {'; '.join(problems[:5])}")
        time.sleep(_POLL)
    return []
