"""What is known of a member now. Built first; depends on no other part.

    health loop --writes--> MemberState --read by--> nodes, pods, dependents, membership, kubelet server
                                 ^
           the orphan brake reports what it holds; a fence is declared in the MemberCluster

The health loop is the only writer of the health and of `lists_current`.
"""

from __future__ import annotations

from collections.abc import Callable

from vk_provider.api.membercluster import MemberCluster
from vk_provider.observable import Observable
from vk_provider.translate.state.health import Assessment, State


class MemberState:
    """Health of a member, and how far its caches can be relied on. Used from one event loop."""

    def __init__(self, state: State, cluster: Observable[MemberCluster]) -> None:
        self._health, self._cluster = Assessment(state), cluster
        # The MemberCluster is being deleted: pods leave, and none is created. A deletion starts another Member.
        self.leaving = cluster.value.metadata.deletion_timestamp is not None
        self._lists_current = True
        self.lost_reason = ""  # why nothing is known of the member; empty unless it is lost
        self.refused_reason = ""  # why the member cannot be used, although it may live; empty unless it is refused
        self.unknown_reason = ""  # why its pods are not known for certain; empty if the cache shows what exists
        self._holding: set[str] = set()
        self._on_change: list[Callable[[], None]] = []
        self._on_resync: list[Callable[[], None]] = []
        self.last_sign_of_life = 0.0  # loop time

    @property
    def health(self) -> Assessment:
        """The current assessment."""
        return self._health

    @property
    def lists_current(self) -> bool:
        """Whether the pod caches of both sides are at least as new as a list made since the member last came back."""
        return self._lists_current

    @property
    def may_evict(self) -> bool:
        """Whether the caches follow the member, so that a pod may be moved for what they show of it.

        While a member is suspect or refuses the provider, it may run, and nothing moves.
        """
        return self._health.state is State.HEALTHY and not self.unknown_reason

    @property
    def fenced(self) -> bool:
        """Whether an administrator has declared, in the MemberCluster, that the member is down."""
        return self._cluster.value.fenced

    @property
    def orphans_held(self) -> bool:
        """Whether the brake holds orphans of any virtual node of the member."""
        return bool(self._holding)

    def on_change(self, handler: Callable[[], None]) -> None:
        """Calls `handler` after each change of the health."""
        self._on_change.append(handler)

    def on_resync(self, handler: Callable[[], None]) -> None:
        """Calls `handler` when everything in the member must be requeued: after every change of the state except to
        Suspect and Refused, which change nothing for pods, and when lists become current, or are not any more.
        """
        self._on_resync.append(handler)

    def assess(self, health: Assessment) -> None:
        """Replaces the health. Only the health loop calls this."""
        before, self._health = self._health, health
        self._explain()
        known = bool(health.stale) == bool(before.stale)
        if health.state not in (before.state, State.SUSPECT, State.REFUSED) or not known:
            self._resync()
        for handler in self._on_change:
            handler()

    def mark_lists(self, *, current: bool) -> None:
        """Records whether the caches can be relied on. Only the health loop calls this."""
        became_current = current and not self._lists_current
        self._lists_current = current
        self._explain()
        if became_current:
            self._resync()

    def hold_orphans(self, node: str, *, held: bool) -> None:
        """Records whether the brake of a virtual node holds orphans."""
        if held:
            self._holding.add(node)
        else:
            self._holding.discard(node)

    def _explain(self) -> None:
        health = self._health
        self.lost_reason = (str(health.error) or "no answer") if health.state is State.LOST else ""
        self.refused_reason = str(health.error) if health.state is State.REFUSED else ""
        if self.lost_reason:
            self.unknown_reason = f"the member behind the node does not answer: {self.lost_reason}"
        elif not self._lists_current:
            self.unknown_reason = "the member behind the node answers again, and is not listed yet"
        else:
            self.unknown_reason = health.stale

    def _resync(self) -> None:
        for handler in self._on_resync:
            handler()
