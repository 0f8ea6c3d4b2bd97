"""Readiness gates: conditions of the parent pod that other controllers write, and that Ready depends on.

(https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#pod-readiness-gate)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from vk_provider.kube.objects import Pod

Condition = dict[str, Any]


class _Gate(msgspec.Struct, rename="camel"):
    condition_type: str


class _Spec(msgspec.Struct, rename="camel"):
    readiness_gates: list[_Gate] | None = None


_spec = msgspec.json.Decoder(_Spec)


def gates(parent: Pod) -> list[str]:
    """The types of the conditions that Ready depends on."""
    return [gate.condition_type for gate in _spec.decode(parent.spec).readiness_gates or ()]


def apply_gates(found: Sequence[Condition], gates: Sequence[str], before: Sequence[Condition]) -> list[Condition]:
    """`found`, the conditions of the member pod, with Ready as a kubelet computes it: the containers are ready, and the
    condition of every gate is True. Conditions of gates are removed, because they belong to the parent.

    `before` are the current conditions of the parent pod. If Ready depends on a gate, it has no transition time: it
    changes when the gates do, not when the containers do.
    """
    current = {condition["type"]: condition.get("status") for condition in before}
    closed = [
        f'the status of pod readiness gate "{gate}" is not "True", but {current[gate]}'
        if gate in current
        else f'corresponding condition of pod readiness gate "{gate}" does not exist.'
        for gate in gates
        if current.get(gate) != "True"
    ]
    change: Condition = {"lastTransitionTime": None}
    if closed:
        change |= {"status": "False", "reason": "ReadinessGatesNotReady", "message": ", ".join(closed)}
    return [
        condition | change if condition["type"] == "Ready" and condition["status"] == "True" else condition
        for condition in found
        if condition["type"] not in gates
    ]
