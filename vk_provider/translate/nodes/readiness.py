"""Whether the nodes of a member let its virtual node be Ready: a state machine without a clock.

a node is Ready                                  --> Ready
nodes were Ready, none for lostAfterSeconds      --> not Ready, `MemberNodesNotReady`
no nodes, or nodes that have never been Ready    --> not Ready, `MemberHasNoReadyNodes`; with a promised capacity
                                                     Ready, `MemberScalesUp`: pods make its autoscaler add nodes
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vk_provider.api.membercluster import CapacityPolicy
from vk_provider.api.wellknown import MEMBER_HAS_NO_READY_NODES, MEMBER_NODES_NOT_READY, MEMBER_SCALES_UP
from vk_provider.translate.nodes.member_nodes import MemberNode, workers


@dataclass(frozen=True)
class NodesReady:
    """`reason` and `message` are empty if a node of the member is Ready, or was a moment ago."""

    ready: bool = True
    reason: str = ""
    message: str = ""


class MemberNodesReadiness:
    """Owns which nodes have been Ready, and when one was last. Times are seconds of one steady clock."""

    def __init__(self, before: str, now: float) -> None:
        """`before`: reason of the Ready condition that an earlier process wrote; empty if there was none."""
        # Nodes that are not Ready at the first look were before, unless the condition reports that none ever was.
        self._assume = before not in ("", MEMBER_HAS_NO_READY_NODES, MEMBER_SCALES_UP)
        self._been: set[str] | None = None  # UIDs of the nodes that are there and have been Ready
        gone = before == MEMBER_NODES_NOT_READY
        self._last: float | None = (float("-inf") if gone else now) if self._assume else None
        self.due = float("inf")  # when the answer changes if nothing else does

    def update(
        self, now: float, nodes: Sequence[MemberNode], policy: CapacityPolicy, lost_after_seconds: float
    ) -> NodesReady:
        """The answer for these nodes, which are all of the member."""
        candidates = workers(nodes)
        ready = {node.metadata.uid for node in candidates if node.ready}
        there = {node.metadata.uid for node in candidates}
        been = self._been if self._been is not None else (there if self._assume else set())
        self._been = (been & there) | ready
        self.due = float("inf")
        if ready:
            self._last = now
            return NodesReady()
        if policy is CapacityPolicy.PROMISE and not self._been:
            return NodesReady(True, MEMBER_SCALES_UP, "no node of the member is Ready yet; it scales itself")
        if self._last is not None and now < self._last + lost_after_seconds:
            self.due = self._last + lost_after_seconds
            return NodesReady()
        if self._been:
            return NodesReady(False, MEMBER_NODES_NOT_READY, "the member answers; none of its nodes is Ready")
        message = "no node of the member has been Ready" if nodes else "the member has no nodes"
        return NodesReady(False, MEMBER_HAS_NO_READY_NODES, message)
