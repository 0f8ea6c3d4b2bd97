"""What is known of a member: what follows from its health and its lists, and who is told."""

from __future__ import annotations

import pytest

from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.errors import UnreachableError
from vk_provider.kube.objects import Metadata
from vk_provider.observable import Observable
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.health import Assessment, State

NO_ANSWER = UnreachableError("no answer in time")


class Watched:
    """A state, and how often others were told of it."""

    def __init__(self) -> None:
        cluster = Observable(MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("s", "n"))))
        self.state = MemberState(State.HEALTHY, cluster)
        self.changes = self.resyncs = 0
        self.state.on_change(self._changed)
        self.state.on_resync(self._resync)

    def _changed(self) -> None:
        self.changes += 1

    def _resync(self) -> None:
        self.resyncs += 1


def test_of_a_lost_member_nothing_is_known_and_both_say_why() -> None:
    state = Watched().state
    assert (state.lost, state.unknown) == ("", "")
    state.assess(Assessment(State.LOST, NO_ANSWER))
    assert state.lost == "no answer in time"
    assert state.unknown == "the member behind the node does not answer: no answer in time"


def test_a_loss_without_a_cause_is_a_loss_too() -> None:
    state = Watched().state
    state.assess(Assessment(State.LOST, UnreachableError("")))
    assert state.lost
    assert state.unknown


def test_of_a_member_that_returns_nothing_is_known_until_its_lists_are_current() -> None:
    watched = Watched()
    watched.state.assess(Assessment(State.LOST, NO_ANSWER))
    watched.state.mark_lists(current=False)
    watched.state.assess(Assessment(State.RETURNING))
    assert watched.state.lost == ""
    assert "not listed yet" in watched.state.unknown
    before = watched.resyncs
    watched.state.mark_lists(current=True)
    assert watched.state.unknown == ""
    assert watched.resyncs == before + 1


@pytest.mark.parametrize(
    ("after", "resyncs"), [(State.SUSPECT, 0), (State.HEALTHY, 0), (State.LOST, 1), (State.RETURNING, 1)]
)
def test_pods_are_looked_at_again_when_what_is_known_of_them_changes(after: State, resyncs: int) -> None:
    watched = Watched()
    watched.state.assess(Assessment(after, NO_ANSWER))
    assert (watched.changes, watched.resyncs) == (1, resyncs)


def test_orphans_are_held_as_long_as_any_virtual_node_holds_some() -> None:
    state = Watched().state
    state.hold_orphans("west-1", held=True)
    state.hold_orphans("west-2", held=True)
    state.hold_orphans("west-1", held=False)
    assert state.orphans_held
    state.hold_orphans("west-2", held=False)
    assert not state.orphans_held
