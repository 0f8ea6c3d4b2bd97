"""PodDisruptionBudgets of the parent, as budgets of a member, so that a drain there honours them.

A member's budget is an integer `minAvailable`: the disruption controller computes a percentage from the scale of the
pods' controller, which the member does not have. It selects pods of this parent only, by our label.

    disruptionsAllowed, less what the parent has not seen yet --divide--> this member's part
    our living pods there, less that part --> minAvailable
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod, pod_phase
from vk_provider.translate.names import Names
from vk_provider.translate.selectors import selects

_DEFAULT_POLICY: Final = "IfHealthyBudget"  # of Kubernetes


class _Spec(msgspec.Struct, rename="camel", gc=False):
    selector: dict[str, Any] | None = None
    unhealthy_pod_eviction_policy: str = _DEFAULT_POLICY


class _Status(msgspec.Struct, rename="camel", gc=False):
    disruptions_allowed: int = 0
    current_healthy: int = 0
    desired_healthy: int = 0
    observed_generation: int = 0


class _PodSpec(msgspec.Struct, rename="camel", gc=False):
    node_name: str = ""


_pod_spec = msgspec.json.Decoder(_PodSpec)


class Budget(msgspec.Struct, gc=False):
    """The cached part of a PodDisruptionBudget of the parent."""

    metadata: Metadata
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Whether the budget covers a pod with these labels. Without a selector: none; with an empty one: all."""
        return self.spec.selector is not None and selects(self.spec.selector, labels)

    @property
    def allowed(self) -> int:
        """How many disruptions the parent allows now: none while its status is about an earlier spec."""
        current = self.status.observed_generation >= self.metadata.generation
        return max(0, self.status.disruptions_allowed) if current else 0

    @property
    def unhealthy_policy(self) -> str:
        """The policy for the member's budget. The parent's own controller decides whether its budget is met."""
        met = self.status.current_healthy >= self.status.desired_healthy > 0
        return "AlwaysAllow" if met else self.spec.unhealthy_pod_eviction_policy


@dataclass(frozen=True)
class Claim:
    """What the pods of one member mean for a budget.

    `living` are our pods there that have neither ended nor are being deleted. `unseen` are those that have ended or are
    being deleted there while the parent still counts them as healthy: each has used a disruption that
    `disruptionsAllowed` still contains. A pod that is evicted in the member stays Ready for its grace period.
    """

    living: int = 0
    unseen: int = 0
    draining: bool = False  # a living one runs on a cordoned node


def parts(allowed: int, claims: Mapping[str, Claim]) -> dict[str, int]:
    """How many of the allowed disruptions each member may use; together never more than the parent allows.

    Each gets its share by living pods, rounded down. What cannot be divided goes to the first member that drains, by
    name; if none drains, it stays unused.
    """
    left = max(0, allowed - sum(claim.unseen for claim in claims.values()))
    total = sum(claim.living for claim in claims.values())
    divided = {name: min(claim.living, left * claim.living // max(1, total)) for name, claim in claims.items()}
    rest = left - sum(divided.values())
    for name in sorted(name for name, claim in claims.items() if claim.draining):
        more = min(rest, claims[name].living - divided[name])
        divided[name] += more
        rest -= more
    return divided


class Shares:
    """Who may use which part of a budget: one for all members. Keys are those of the parent's budgets.

    A part counts as granted until the member's budget is written without it: no member gets what another one still
    holds. Used from one event loop.
    """

    def __init__(self) -> None:
        self._claims: dict[str, dict[str, Claim]] = {}
        self._granted: dict[str, dict[str, int]] = {}
        self._handlers: list[Callable[[str], None]] = []

    @contextmanager
    def subscribed(self, handler: Callable[[str], None]) -> Iterator[None]:
        """Calls `handler` with the key of each budget whose parts may have changed, within the block."""
        self._handlers.append(handler)
        try:
            yield
        finally:
            self._handlers.remove(handler)

    def claim(self, key: str, member: str, claim: Claim) -> None:
        """Records what the pods of a member mean for a budget."""
        claims = self._claims.setdefault(key, {})
        if claims.get(member) != claim:
            claims[member] = claim
            self._changed(key)

    def part(self, key: str, member: str, allowed: int) -> int:
        """The part that a member may have now. It must have a claim."""
        claims = self._claims[key]
        left = allowed - sum(claim.unseen for claim in claims.values())
        others = sum(part for name, part in self._granted.get(key, {}).items() if name != member)
        return max(0, min(parts(allowed, claims)[member], left - others))

    def granted(self, key: str, member: str) -> int:
        """The part that a member's budget may contain."""
        return self._granted.get(key, {}).get(member, 0)

    def grant(self, key: str, member: str, part: int) -> None:
        """Records a part: before a write that raises it, and after one that lowers it."""
        before = self.granted(key, member)
        self._granted.setdefault(key, {})[member] = part
        if part < before:
            self._changed(key)

    def release(self, key: str, member: str) -> None:
        """The member has no budget of that key."""
        for table in (self._claims, self._granted):
            of_key: dict[str, Any] = table.get(key, {})
            if of_key.pop(member, None) is not None:
                self._changed(key)
            if not of_key:
                table.pop(key, None)

    def forget(self, member: str) -> None:
        """The member is not served any more."""
        for key in list(self._claims):
            self.release(key, member)

    def _changed(self, key: str) -> None:
        for handler in self._handlers:
            handler(key)


def alive(pod: Pod) -> bool:
    """Whether a pod has neither ended nor is being deleted."""
    return pod.metadata.deletion_timestamp is None and not pod_phase(pod).ended


def counts_as_healthy(pod: Pod) -> bool:
    """Whether the disruption controller counts the pod as healthy, if a budget selects it."""
    return pod.metadata.deletion_timestamp is None and pod_phase(pod).has("Ready")


def node_of(pod: Pod) -> str:
    """The node that the pod is bound to."""
    return _pod_spec.decode(pod.spec).node_name


def member_budget(budget: Budget, names: Names, nodes: Sequence[str], minimum: int) -> dict[str, Any]:
    """The manifest in the member. It selects what the parent's budget selects, of our pods for these virtual nodes."""
    selector = budget.spec.selector or {}
    of_nodes = {"key": wellknown.NODE_LABEL, "operator": "In", "values": sorted(nodes)}
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {
            "name": budget.metadata.name,
            "namespace": names.namespace(budget.metadata.namespace),
            "labels": names.labels,
            "annotations": names.annotations(budget.metadata),
        },
        "spec": {
            "minAvailable": minimum,
            "selector": {
                "matchLabels": (selector.get("matchLabels") or {}) | {wellknown.PARENT_LABEL: names.parent},
                "matchExpressions": [*(selector.get("matchExpressions") or ()), of_nodes],
            },
            "unhealthyPodEvictionPolicy": budget.unhealthy_policy,
        },
    }
