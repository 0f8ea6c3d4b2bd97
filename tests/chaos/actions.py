"""What users and other clients do: a table of actions, each with the choice of an object and of arguments.

Actions name only objects of the plan itself, never objects read from a cluster.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, Final

NAMESPACES: Final = ("red", "green", "blue")
MEMBERS: Final = ("alpha", "beta")
POLICIES: Final = ("Always", "OnFailure", "Never")
_PODS: Final = 12  # number of names of pods without a controller, per namespace
_WORKLOADS: Final = 4  # number of names of each kind of workload, per namespace
_GRACES: Final = (None, 0, 1)  # seconds; None: that of the pod

Draw = Callable[[random.Random], tuple[str, dict[str, Any]]]


def _pod(rng: random.Random) -> str:
    return f"{rng.choice(NAMESPACES)}/pod-{rng.randrange(_PODS)}"


def _workload(kind: str) -> Callable[[random.Random], str]:
    return lambda rng: f"{rng.choice(NAMESPACES)}/{kind}-{rng.randrange(_WORKLOADS)}"


def _config(rng: random.Random) -> str:
    return f"{rng.choice(NAMESPACES)}/config-{rng.randrange(3)}"


def _some_pod_in(*places: str) -> Draw:
    return lambda rng: (rng.choice(places), {"index": rng.randrange(1000), "grace": rng.choice(_GRACES)})


_deployment, _set, _job = _workload("web"), _workload("db"), _workload("job")

# Name, weight, and the choice.
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
    ("delete pod", 10, lambda rng: (_pod(rng), {"grace": rng.choice(_GRACES)})),
    (
        "recreate pod",
        6,
        lambda rng: (_pod(rng), {"grace": rng.choice(_GRACES), "policy": rng.choice(POLICIES)}),
    ),
    ("label pod", 6, lambda rng: (_pod(rng), {"tier": f"t{rng.randrange(100)}"})),
    ("set image of pod", 4, lambda rng: (_pod(rng), {"image": rng.randrange(9)})),
    ("create deployment", 6, lambda rng: (_deployment(rng), {"replicas": rng.randrange(7)})),
    ("scale deployment", 8, lambda rng: (_deployment(rng), {"replicas": rng.randrange(9)})),
    ("set image of deployment", 3, lambda rng: (_deployment(rng), {"image": rng.randrange(9)})),
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
    ("delete some pod", 10, _some_pod_in(*NAMESPACES)),
    ("write config", 4, lambda rng: (_config(rng), {"value": str(rng.randrange(100))})),
    ("delete config", 2, lambda rng: (_config(rng), {})),
    ("delete namespace", 1, lambda rng: (NAMESPACES[-1], {})),  # only one: it accepts no new objects until it is gone
    ("delete member pod", 10, _some_pod_in(*MEMBERS)),
    ("delete member namespace", 1, lambda rng: (f"{rng.choice(MEMBERS)}/{rng.choice(NAMESPACES)}", {})),
    ("replace token", 1, lambda rng: (rng.choice(MEMBERS), {})),
)
