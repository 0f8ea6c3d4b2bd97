"""The steps of a round, with their times: a pure function of the seed.

Steps name only objects of the plan itself, never objects read from a cluster, so the same seed gives the same steps. A
step does nothing if its object does not exist.

Users and other clients act at random (`actions`). In addition, each place has a sequence of faults of its own: a link
to an API server, the account in a member, a node of a member, the kubelet API of a virtual node. They begin after the
opening, which is always the same: each member is lost alone, so that its Node is deleted (members that are silent
together are not lost), and what seldom happens by chance within two minutes happens once.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.actions import ACTIONS, MEMBERS, NAMESPACES
from tests.link import FAULTS

NODES: Final = ("1", "2")  # of each member
RECONNECTS: Final = 10  # in a row; an even number ends with the link
_PAUSE: Final = 0.4  # seconds between two actions of users, on average
_UNTIL_LOST: Final = 8.0  # seconds from the begin of a fault until its member is lost, at least
_BETWEEN_RECONNECTS: Final = 1.0  # seconds


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


@dataclass(frozen=True)
class Place:
    """The faults of one place, with their weights. They do not overlap. Times are in seconds, minimum and maximum."""

    faults: tuple[tuple[str, int], ...]
    calm: tuple[float, float]  # between two faults
    lasts: tuple[float, float]


_LINK: Final = (*((fault, 1) for fault in FAULTS), ("stopped", 3))
_MEMBER_LINK: Final = (*_LINK, ("cut", 3))  # a cut of the parent would cut off the users too
_ACCOUNT: Final = (("token expired", 2), ("no rights", 2), ("fewer rights", 1))
# "silent" and "isolated": its containers run on; "crashed" and "removed": they end. See `faults`.
_NODE: Final = (("drained", 3), ("silent", 2), ("isolated", 2), ("crashed", 2), ("removed", 2))

# The provider is a place of its own, with one fault: it is killed.
PLACES: Final[dict[str, Place]] = {
    "parent": Place(_LINK, (3.0, 15.0), (1.0, 40.0)),
    **{name: Place(_MEMBER_LINK, (3.0, 15.0), (1.0, 40.0)) for name in MEMBERS},
    **{f"{name} account": Place(_ACCOUNT, (10.0, 60.0), (5.0, 40.0)) for name in MEMBERS},
    **{f"{name}-{node}": Place(_NODE, (10.0, 60.0), (5.0, 90.0)) for name in MEMBERS for node in NODES},
    **{f"{name} kubelet port": Place((("flood", 1),), (20.0, 90.0), (5.0, 20.0)) for name in MEMBERS},
}
# Seconds, step, place, arguments. `wait`: seconds until the step has an effect, at most.
_OPENING: Final[tuple[tuple[float, str, str, dict[str, Any]], ...]] = (
    (1.0, "begin", "alpha-2", {"fault": "removed"}),
    (2.0, "begin", "alpha", {"fault": "cut"}),
    (2.5, "begin", "parent", {"fault": "1 Mbit/s"}),
    (3.0, "begin", "beta-1", {"fault": "drained"}),
    (4.0, "begin", "beta account", {"fault": "fewer rights"}),
    (6.0, "end", "beta account", {"fault": "fewer rights"}),
    (7.0, "begin", "beta kubelet port", {"fault": "flood"}),
    (10.0, "delete node", "alpha", {"wait": 20}),
    (12.0, "end", "alpha", {"fault": "cut"}),
    (12.5, "end", "parent", {"fault": "1 Mbit/s"}),
    (13.0, "end", "beta-1", {"fault": "drained"}),
    (14.0, "begin", "beta-2", {"fault": "silent"}),
    (15.0, "replace token", "beta", {}),
    (16.0, "begin", "alpha", {"fault": "401"}),
    (17.0, "end", "beta kubelet port", {"fault": "flood"}),
    (18.0, "begin", "beta", {"fault": "cut"}),
    (22.0, "end", "alpha", {"fault": "401"}),
    (23.0, "begin", "alpha account", {"fault": "no rights"}),
    (26.0, "end", "alpha account", {"fault": "no rights"}),
    (28.0, "see the cloud delete a node", "beta", {"wait": 20}),
    (29.0, "end", "beta", {"fault": "cut"}),
    (29.5, "begin", "alpha-1", {"fault": "crashed"}),
    (30.0, "begin", "beta", {"fault": "redirect"}),
    (30.5, "begin", "alpha account", {"fault": "token expired"}),
    (31.0, "begin", "beta-1", {"fault": "isolated"}),
    (33.0, "end", "beta", {"fault": "redirect"}),
    (34.0, "begin", "beta", {"fault": "403"}),
    *((35.0 + number, "delete member namespace", f"alpha/{name}", {}) for number, name in enumerate(NAMESPACES)),
    (38.0, "end", "beta", {"fault": "403"}),
    (38.2, "end", "alpha-1", {"fault": "crashed"}),
    (38.4, "end", "alpha-2", {"fault": "removed"}),
    (38.6, "end", "alpha account", {"fault": "token expired"}),
    (38.8, "end", "beta-1", {"fault": "isolated"}),
    (39.0, "end", "beta-2", {"fault": "silent"}),
    *((39.2, "reconnect", "beta", {"server": server}) for server in ("direct", "link") * (RECONNECTS // 2)),
)
OPENING: Final = 40.0  # seconds
_SILENT: Final = ("stopped", "cut", "black hole", "refused", "held")  # the member is lost if one lasts for long enough


def plan(seed: int, seconds: float, *, faults: bool = True, pace: float = 1.0) -> list[Step]:
    """The steps of a round, in order. `pace`: how much slower than usual users act."""
    rng = random.Random(seed)
    steps = list(_actions(rng, seconds, _PAUSE * pace))
    if faults:
        steps += [Step(*step) for step in _OPENING]
        for name, place in PLACES.items():
            steps += _faults(random.Random(f"{seed} {name}"), name, place, seconds)
        steps += _kills(random.Random(f"{seed} provider"), seconds)
        for name in MEMBERS:
            steps += _reconnects(random.Random(f"{seed} {name} reconnects"), name, seconds)
    # The faults that are left at the end of a round are healed.
    return sorted((step for step in steps if step.at < seconds), key=lambda step: step.at)


def _actions(rng: random.Random, seconds: float, pause: float) -> Sequence[Step]:
    steps = []
    at = 0.0
    weights = [weight for _, weight, _ in ACTIONS]
    while (at := at + rng.expovariate(1 / pause)) < seconds:
        what, _, draw = rng.choices(ACTIONS, weights)[0]
        about, args = draw(rng)
        steps.append(Step(at, what, about, args))
    return steps


def _faults(rng: random.Random, name: str, place: Place, seconds: float) -> Sequence[Step]:
    steps = []
    at = OPENING + rng.uniform(*place.calm)
    names, weights = [fault for fault, _ in place.faults], [weight for _, weight in place.faults]
    while at < seconds:
        fault = rng.choices(names, weights)[0]
        lasts = rng.uniform(*place.lasts)
        steps += [Step(at, "begin", name, {"fault": fault}), Step(at + lasts, "end", name, {"fault": fault})]
        if name in MEMBERS and fault in _SILENT and lasts > _UNTIL_LOST:
            steps.append(Step(at + rng.uniform(_UNTIL_LOST, lasts), "delete node", name, {"wait": 0}))
        at += lasts + rng.uniform(*place.calm)
    return steps


def _kills(rng: random.Random, seconds: float) -> Sequence[Step]:
    steps = []
    at = OPENING + rng.uniform(5, 20)
    while at < seconds:
        steps += [Step(at, "kill", "provider"), Step(at := at + rng.choice((0.0, 1.0, 8.0)), "start", "provider")]
        at += rng.uniform(5, 40)
    return steps


def _reconnects(rng: random.Random, member: str, seconds: float) -> Sequence[Step]:
    """Now and then, a member moves to another address and back several times."""
    steps = []
    at = OPENING + rng.uniform(10, 90)
    while at < seconds:
        for number in range(RECONNECTS):
            server = "link" if number % 2 else "direct"
            steps.append(Step(at + number * _BETWEEN_RECONNECTS, "reconnect", member, {"server": server}))
        at += RECONNECTS * _BETWEEN_RECONNECTS + rng.uniform(60, 180)
    return steps
