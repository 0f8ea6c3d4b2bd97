"""The steps of a round, with their times: a pure function of the seed.

Steps name only objects of the plan itself, never objects read from a cluster, so the same seed gives the same steps. A
step does nothing if its object does not exist.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.link import BROKEN, SLOW

NAMESPACES: Final = ("red", "green", "blue")
MEMBERS: Final = ("alpha", "beta")
POLICIES: Final = ("Always", "OnFailure", "Never")
_PAUSE: Final = 0.4  # seconds between two actions of users, on average
_CALM: Final = (3.0, 15.0)  # seconds between two faults of a link, minimum and maximum
_FAULT: Final = (1.0, 40.0)  # seconds that a fault lasts, minimum and maximum
_PODS: Final = 12  # number of names of pods without a controller, per namespace
_WORKLOADS: Final = 4  # number of names of each kind of workload, per namespace


@dataclass(frozen=True)
class Step:
    """`at`: seconds from the start of the round. `what` is a name in `world.STEPS`."""

    at: float
    what: str
    about: str
    args: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        args = " ".join(f"{key}={value}" for key, value in self.args.items())
        return f"{self.at:7.2f} {self.what} {self.about} {args}".rstrip()


Draw = Callable[[random.Random], tuple[str, dict[str, Any]]]


def _pod(rng: random.Random) -> str:
    return f"{rng.choice(NAMESPACES)}/pod-{rng.randrange(_PODS)}"


def _workload(kind: str) -> Callable[[random.Random], str]:
    return lambda rng: f"{rng.choice(NAMESPACES)}/{kind}-{rng.randrange(_WORKLOADS)}"


def _one_of_its_pods(rng: random.Random) -> tuple[str, dict[str, Any]]:
    return rng.choice(NAMESPACES), {"index": rng.randrange(1000), "grace": rng.choice((None, 0, 1))}


_deployment, _set, _job = _workload("web"), _workload("db"), _workload("job")

# Actions of users and other clients: name, weight, and the choice of an object and arguments.
ACTIONS: Final[tuple[tuple[str, int, Draw], ...]] = (
    (
        "create pod",
        18,
        lambda rng: (
            _pod(rng),
            {
                "policy": rng.choice(POLICIES),
                "lives": rng.choice((0, 2, 10)),  # seconds; no limit if 0, or with policy Always
                "exit_code": rng.choice((0, 0, 1)),
                "config": rng.choice(("", "", f"config-{rng.randrange(3)}")),
            },
        ),
    ),
    ("delete pod", 10, lambda rng: (_pod(rng), {"grace": rng.choice((None, 0, 1))})),
    (
        "recreate pod",
        6,
        lambda rng: (_pod(rng), {"grace": rng.choice((None, 0, 1)), "policy": rng.choice(POLICIES)}),
    ),
    ("label pod", 6, lambda rng: (_pod(rng), {"tier": f"t{rng.randrange(100)}"})),
    ("set image of pod", 4, lambda rng: (_pod(rng), {"image": rng.randrange(9)})),
    ("create deployment", 6, lambda rng: (_deployment(rng), {"replicas": rng.randrange(7)})),
    ("scale deployment", 8, lambda rng: (_deployment(rng), {"replicas": rng.randrange(9)})),
    (
        "set image of deployment",
        3,
        lambda rng: (_deployment(rng), {"image": rng.randrange(9)}),
    ),
    ("delete deployment", 2, lambda rng: (_deployment(rng), {})),
    ("create statefulset", 4, lambda rng: (_set(rng), {"replicas": rng.randrange(1, 4)})),
    ("scale statefulset", 4, lambda rng: (_set(rng), {"replicas": rng.randrange(4)})),
    ("delete statefulset", 1, lambda rng: (_set(rng), {})),
    (
        "create job",
        4,
        lambda rng: (
            _job(rng),
            {
                "completions": rng.randrange(1, 4),
                "policy": rng.choice(("Never", "OnFailure")),
                "exit_code": rng.choice((0, 0, 0, 1)),
            },
        ),
    ),
    ("delete job", 2, lambda rng: (_job(rng), {})),
    ("delete some pod", 10, _one_of_its_pods),
    (
        "write config",
        4,
        lambda rng: (f"{rng.choice(NAMESPACES)}/config-{rng.randrange(3)}", {"value": str(rng.randrange(100))}),
    ),
    ("delete config", 2, lambda rng: (f"{rng.choice(NAMESPACES)}/config-{rng.randrange(3)}", {})),
    ("delete namespace", 1, lambda rng: (NAMESPACES[-1], {})),  # only one: it accepts no new objects until it is gone
    (
        "delete member pod",
        10,
        lambda rng: (rng.choice(MEMBERS), {"index": rng.randrange(1000), "grace": rng.choice((None, 0, 1))}),
    ),
)

# The faults: of a link, of an API server (killed), and of a member (its link is cut).
_LINKS: Final = ("parent", *MEMBERS)
_FAULTS: Final = (*((fault, 1) for fault in (*SLOW, *BROKEN)), ("stopped", 3), ("cut", 3))


def plan(seed: int, seconds: float, *, faults: bool = True) -> list[Step]:
    """The steps of a round, in order."""
    rng = random.Random(seed)
    steps = list(_actions(rng, seconds))
    if faults:
        for link in _LINKS:
            steps += _faults(random.Random(f"{seed} {link}"), link, seconds)
        steps += _kills(random.Random(f"{seed} provider"), seconds)
    return sorted(steps, key=lambda step: step.at)


def _actions(rng: random.Random, seconds: float) -> Sequence[Step]:
    steps = []
    at = 0.0
    weights = [weight for _, weight, _ in ACTIONS]
    while (at := at + rng.expovariate(1 / _PAUSE)) < seconds:
        what, _, draw = rng.choices(ACTIONS, weights)[0]
        about, args = draw(rng)
        steps.append(Step(at, what, about, args))
    return steps


def _faults(rng: random.Random, link: str, seconds: float) -> Sequence[Step]:
    steps = []
    at = rng.uniform(*_CALM)
    names, weights = [name for name, _ in _FAULTS], [weight for _, weight in _FAULTS]
    while at < seconds:
        fault = rng.choices(names, weights)[0]
        lasts = rng.uniform(*_FAULT)
        if not (fault == "cut" and link == "parent"):  # this would cut off the users too
            steps += [Step(at, "begin", link, {"fault": fault}), Step(at + lasts, "end", link, {"fault": fault})]
            at += lasts
        at += rng.uniform(*_CALM)
    return steps


def _kills(rng: random.Random, seconds: float) -> Sequence[Step]:
    steps = []
    at = rng.uniform(5, 20)
    while at < seconds:
        steps += [Step(at, "kill", "provider"), Step(at := at + rng.choice((0.0, 1.0, 8.0)), "start", "provider")]
        at += rng.uniform(5, 40)
    return steps
