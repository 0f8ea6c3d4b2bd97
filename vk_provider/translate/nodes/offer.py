"""The resources that a virtual node offers, computed from the nodes and pods of its member.

    Limit:   allocatable = sum over the usable nodes - use, at most spec.capacity
    Promise: allocatable = max(sum, spec.capacity) - use

Use: the requests of pods that are not ours, and what the member has added to ours. Never below 0.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Final

from vk_provider.api.membercluster import CapacityPolicy
from vk_provider.translate.extended import is_extended
from vk_provider.translate.nodes.member_nodes import MemberNode
from vk_provider.translate.nodes.requests import Resources, largest, parsed, total
from vk_provider.translate.quantity import parse, render

# Resources that are counted in bytes.
_BYTES: Final = ("memory", "ephemeral-storage", "hugepages-")


@dataclass(frozen=True)
class Offer:
    """The resources of a virtual node, as quantities in Kubernetes' notation."""

    capacity: dict[str, str] = field(default_factory=dict)
    allocatable: dict[str, str] = field(default_factory=dict)

    def only(self, names: Collection[str] | None) -> Offer:
        """The part with these resources; None: with all resources that are not extended ones."""

        def part(values: dict[str, str]) -> dict[str, str]:
            return {k: v for k, v in values.items() if (not is_extended(k) if names is None else k in names)}

        return Offer(part(self.capacity), part(self.allocatable))


def offer(
    every: Iterable[MemberNode],
    usable: Sequence[MemberNode],
    use: Mapping[str, Resources],
    limits: Resources,
    policy: CapacityPolicy = CapacityPolicy.LIMIT,
) -> Offer:
    """Capacity and allocatable of the virtual node. `use`: what is used of each node of the member, by its name."""
    capacity = total(parsed(node.capacity) for node in usable)
    free = total(parsed(node.allocatable) for node in usable)
    if policy is CapacityPolicy.PROMISE:
        capacity, free = largest(capacity, limits), largest(free, limits)
    for name, used in total(use.get(node.metadata.name, {}) for node in usable).items():
        if name in free:
            free[name] -= used
    # A resource that only unusable nodes have is 0 for now, not unknown.
    nothing = {name: Fraction(0) for node in every for name in node.allocatable}
    capacity, free = nothing | capacity, nothing | free
    caps = limits if policy is CapacityPolicy.LIMIT else {}

    def rendered(values: Resources) -> dict[str, str]:
        capped = {name: min(value, caps.get(name, value)) for name, value in values.items()}
        return {
            name: render(max(Fraction(0), value), binary=name.startswith(_BYTES))
            for name, value in sorted(capped.items())
        }

    return Offer(rendered(capacity), rendered(free))


class SmallestOffer:
    """The smallest value of each resource in the last 30 s: a smaller offer counts at once, a larger one once it lasts.

    Pods of others that are replaced all the time would otherwise change the Node each time. A resource that is new
    counts at once. Owns the offers of that time. Times are seconds of one steady clock.
    """

    SECONDS: Final = 30.0

    def __init__(self) -> None:
        # (kind, resource) -> offers that are smaller than all later ones: until when each counts, and its value. The
        # last one is current, and counts until there is another one.
        self._kept: dict[tuple[str, str], list[tuple[float, Fraction, str]]] = {}

    def add(self, now: float, offer: Offer) -> Offer:
        """The offer to show, when that one is computed."""
        shown = Offer()
        for kind in ("capacity", "allocatable"):
            values: dict[str, str] = getattr(offer, kind)
            for name, text in values.items():
                getattr(shown, kind)[name] = self._smallest(now, (kind, name), text)
        offered = {(kind, name) for kind in ("capacity", "allocatable") for name in getattr(offer, kind)}
        for gone in self._kept.keys() - offered:
            del self._kept[gone]
        return shown

    @property
    def due(self) -> float:
        """When the smallest offer of a resource stops counting; infinity if none does by itself."""
        return min((kept[0][0] for kept in self._kept.values() if len(kept) > 1), default=float("inf"))

    def _smallest(self, now: float, key: tuple[str, str], text: str) -> str:
        value, kept = parse(text), self._kept.setdefault(key, [])
        if kept and kept[-1][1] != value:  # the one before was current until now
            kept[-1] = (now + self.SECONDS, *kept[-1][1:])
        while kept and kept[-1][1] >= value:
            kept.pop()
        kept.append((float("inf"), value, text))
        while kept[0][0] <= now:
            kept.pop(0)
        return kept[0][2]
