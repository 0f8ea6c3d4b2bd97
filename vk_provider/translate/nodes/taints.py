"""The taints of a virtual node that come from its member, and the tolerations that member pods get for the others."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence, Set
from typing import Final

from vk_provider.api.membercluster import AddTo, Toleration
from vk_provider.api.wellknown import DOMAIN
from vk_provider.translate.nodes.member_nodes import KUBERNETES, MemberNode, NodeTaint, covers
from vk_provider.translate.quantity import parse


class SharedTaints:
    """The taints that all Ready nodes of a member have shared for a minute.

    Not those of `node.kubernetes.io/`, which show the state of one node, and not ours. One is no longer shown as soon
    as a node lacks it. While no node is Ready, the last ones stay. Owns what is shown. Times are seconds of one steady
    clock.
    """

    SECONDS: Final = 60.0

    def __init__(self, known: Collection[tuple[str, str]] | None) -> None:
        """`known`: key and effect of what an earlier process has shown; None: there was none, and no pod that an early
        taint could evict, so that what all nodes share at the first look counts at once."""
        self._known = known
        self._since: dict[NodeTaint, float] = {}
        self._first = True
        self.due = float("inf")  # when another taint is shown if nothing changes

    def update(self, now: float, ready: Sequence[MemberNode]) -> list[NodeTaint]:
        """The taints to show. `ready`: the Ready nodes of the member."""
        if ready:
            common = set(ready[0].taints).intersection(*(node.taints for node in ready))
            mirrored = {taint for taint in common if not taint.key.startswith((KUBERNETES, f"{DOMAIN}/"))}
            self._since = {taint: self._since.get(taint, self._begin(taint, now)) for taint in mirrored}
            self._first = False
        waiting = [since + self.SECONDS for since in self._since.values() if now < since + self.SECONDS]
        self.due = min(waiting, default=float("inf"))
        shown = [taint for taint, since in self._since.items() if now >= since + self.SECONDS]
        return sorted(shown, key=lambda taint: (taint.key, taint.effect))

    def _begin(self, taint: NodeTaint, now: float) -> float:
        known = self._known is None or (taint.key, taint.effect) in self._known
        return float("-inf") if self._first and known else now


def added_tolerations(
    requested: Set[str], tolerations: Sequence[Toleration], nodes: Iterable[MemberNode]
) -> list[dict[str, str]]:
    """The tolerations of the MemberCluster that a member pod gets. `requested`: extended resources that it requests.

    A toleration with `addTo: ExtendedResources` is for pods that request a resource which only nodes have that have a
    taint it covers.
    """
    having: dict[str, list[MemberNode]] = {name: [] for name in requested}
    for node in nodes if requested else ():
        for name in requested & node.allocatable.keys():
            if parse(node.allocatable[name]):
                having[name].append(node)

    def needed(toleration: Toleration) -> bool:
        def taints(node: MemberNode) -> bool:
            return any(taint.hard and covers(toleration, taint) for taint in node.taints)

        return toleration.add_to is AddTo.ALL or any(found and all(map(taints, found)) for found in having.values())

    return [toleration.of_pod for toleration in tolerations if needed(toleration)]
