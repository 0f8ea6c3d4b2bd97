"""The state of a member: what follows from its health and its lists, and the notifications."""

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
    """A state, and the number of its notifications."""

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


def test_the_pod_states_of_a_lost_member_are_unknown_with_the_reason() -> None:
    state = Watched().state
    assert (state.lost_reason, state.unknown_reason) == ("", "")
    state.assess(Assessment(State.LOST, NO_ANSWER))
    assert state.lost_reason == "no answer in time"
    assert state.unknown_reason == "the member behind the node does not answer: no answer in time"


def test_a_member_that_is_lost_without_an_error_message_counts_as_lost_too() -> None:
    state = Watched().state
    state.assess(Assessment(State.LOST, UnreachableError("")))
    assert state.lost_reason
    assert state.unknown_reason


def test_the_pod_states_of_a_returning_member_are_unknown_until_its_lists_are_current() -> None:
    watched = Watched()
    watched.state.assess(Assessment(State.LOST, NO_ANSWER))
    watched.state.mark_lists(current=False)
    watched.state.assess(Assessment(State.RETURNING))
    assert watched.state.lost_reason == ""
    assert "not listed yet" in watched.state.unknown_reason
    before = watched.resyncs
    watched.state.mark_lists(current=True)
    assert watched.state.unknown_reason == ""
    assert watched.resyncs == before + 1


@pytest.mark.parametrize(
    ("after", "resyncs"), [(State.SUSPECT, 0), (State.HEALTHY, 0), (State.LOST, 1), (State.RETURNING, 1)]
)
def test_a_resync_follows_when_pod_states_become_unknown(after: State, resyncs: int) -> None:
    watched = Watched()
    watched.state.assess(Assessment(after, NO_ANSWER))
    assert (watched.changes, watched.resyncs) == (1, resyncs)


def test_orphans_are_held_while_any_virtual_node_holds_some() -> None:
    state = Watched().state
    state.hold_orphans("west-1", held=True)
    state.hold_orphans("west-2", held=True)
    state.hold_orphans("west-1", held=False)
    assert state.orphans_held
    state.hold_orphans("west-2", held=False)
    assert not state.orphans_held
