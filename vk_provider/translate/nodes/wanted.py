"""What a virtual node should be, from its MemberCluster, the nodes of its member, and what is used of them.

Every part of the spec that the API server would refuse is left out and reported, so that it costs nothing but itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec
from vk_provider.translate.extended import is_extended
from vk_provider.translate.nodes.keys import is_qualified_name, is_value
from vk_provider.translate.nodes.labels import ZONE, AgreedLabels, labels
from vk_provider.translate.nodes.member_nodes import MemberNode, NodeTaint, has_room, open_to_pods, workers
from vk_provider.translate.nodes.offer import Offer, SmallestOffer, offer
from vk_provider.translate.nodes.readiness import MemberNodesReadiness, NodesReady
from vk_provider.translate.nodes.requests import Resources
from vk_provider.translate.nodes.taints import SharedTaints
from vk_provider.translate.quantity import parse


@dataclass(frozen=True)
class Known:
    """What an earlier process has made of the virtual node. `taints`: key and effect; None: there was no Node."""

    labels: Mapping[str, str] = field(default_factory=dict)
    taints: frozenset[tuple[str, str]] | None = None
    ready_reason: str = ""


@dataclass(frozen=True)
class Wanted:
    """What a virtual node should be, apart from the health of the member.

    `nodes`: those of the member that are open to pods of the parent. `problems`: what of the spec is left out.
    """

    labels: dict[str, str]
    taints: list[NodeTaint]
    offer: Offer
    ready: NodesReady
    nodes: list[MemberNode]
    problems: list[str]


class NodeView:
    """Computes it each time from scratch, except for what has to last for a while (see the classes that are used).

    Times are seconds of one steady clock.
    """

    def __init__(self, name: str, known: Known, cluster: MemberCluster, now: float) -> None:
        """`name` is that of the virtual node."""
        self._name = name
        spec = cluster.spec
        own = {ZONE: cluster.metadata.name}  # no agreement, but the lack of one
        before = {k: v for k, v in known.labels.items() if k not in spec.labels and own.get(k) != v}
        self._labels = AgreedLabels(before, now)
        self._taints = SharedTaints(known.taints)
        self._readiness = MemberNodesReadiness(known.ready_reason, now)
        self._smallest, self._declared = SmallestOffer(), _declared(spec)

    @property
    def due(self) -> float:
        """When the answer changes if nothing else does; infinity if it does not."""
        return min(self._labels.due, self._taints.due, self._readiness.due, self._smallest.due)

    def look(
        self, now: float, cluster: MemberCluster, nodes: Sequence[MemberNode], use: Mapping[str, Resources]
    ) -> Wanted:
        """`use`: what is used of each node of the member by pods that are not ours, by its name."""
        spec, problems = cluster.spec, list[str]()
        shared = self._taints.update(now, [node for node in workers(nodes) if node.ready])
        found = open_to_pods(nodes, shared, spec.tolerations)
        room = [node for node in found if has_room(node, spec.tolerations)]
        agreed = self._labels.update(now, [node.metadata.labels for node in found], spec.label_keys)
        ready = self._readiness.update(now, nodes, spec.capacity_policy, spec.health.lost_after_seconds)
        limits = _limits(spec, problems)
        if (declared := _declared(spec)) != self._declared:  # by the owner, who wants to see it now
            self._smallest, self._declared = SmallestOffer(), declared
        offered = offer(nodes, room, use, limits, spec.capacity_policy) if ready.ready else Offer()
        return Wanted(
            labels=_valid_labels(labels(cluster, self._name, agreed), problems),
            taints=_taints(spec, shared, problems),
            offer=self._smallest.add(now, offered),
            ready=ready,
            nodes=found,
            problems=problems,
        )


def health_taints(*, suspended: bool, leaving: bool) -> list[NodeTaint]:
    """The taints that follow from the state of the member, not from its MemberCluster or its nodes."""
    found = []
    if suspended:
        found.append(NodeTaint(wellknown.SUSPECT_TAINT, "NoSchedule"))
    if leaving:
        found.append(NodeTaint(wellknown.LEAVING_TAINT, "NoExecute"))
    return found


def _declared(spec: MemberClusterSpec) -> tuple[object, ...]:
    """What the owner of the member says about its offer."""
    return spec.capacity, spec.capacity_policy, spec.tolerations


def _limits(spec: MemberClusterSpec, problems: list[str]) -> dict[str, Fraction]:
    found = {}
    for name, value in spec.capacity.items():
        try:
            amount = parse(value)
        except ValueError:
            problems.append(f"capacity {name}: {value!r} is not a quantity")
            continue
        whole = amount.denominator == 1 or not (is_extended(name) or name == "pods")
        if is_qualified_name(name) and amount >= 0 and whole:
            found[name] = amount
        else:
            problems.append(f"capacity {name}: {value!r} is not valid")
    return found


def _valid_labels(wanted: Mapping[str, str], problems: list[str]) -> dict[str, str]:
    found = {key: value for key, value in wanted.items() if is_qualified_name(key) and is_value(value)}
    problems.extend(f"label {key}={wanted[key]} is not valid" for key in wanted.keys() - found.keys())
    return found


def _taints(spec: MemberClusterSpec, shared: Sequence[NodeTaint], problems: list[str]) -> list[NodeTaint]:
    """Those of the spec, then those of the member's nodes; a Node has one taint for each key and effect."""
    found: dict[tuple[str, str], NodeTaint] = {}
    for taint in spec.taints:
        if is_qualified_name(taint.key) and is_value(taint.value):
            found[taint.key, taint.effect] = NodeTaint(taint.key, taint.effect, taint.value)
        else:
            problems.append(f"taint {taint.key}={taint.value}:{taint.effect} is not valid")
    for each in shared:
        found.setdefault((each.key, each.effect), each)
    return list(found.values())
