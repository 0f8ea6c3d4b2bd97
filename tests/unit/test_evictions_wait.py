"""No pod is moved for what the caches show while they may not follow the member."""

from __future__ import annotations

import asyncio

import pytest

from tests.unit.test_disruption import Parent, Timed, deletions, disrupted
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.errors import UnreachableError
from vk_provider.kube.objects import Metadata
from vk_provider.observable import Observable
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.state.health import Assessment, State


def state_of(health: State) -> MemberState:
    cluster = Observable(MemberCluster(Metadata(name="west"), MemberClusterSpec(SecretRef("s", "n"))))
    state = MemberState(State.HEALTHY, cluster)
    state.assess(Assessment(health, UnreachableError("no answer")))
    return state


@pytest.mark.parametrize("health", list(State))
def test_pods_move_only_while_the_member_is_healthy(health: State) -> None:
    assert state_of(health).may_evict == (health is State.HEALTHY)


def test_no_pod_moves_while_the_lists_are_not_current() -> None:
    state = state_of(State.HEALTHY)
    state.mark_lists(current=False)
    assert not state.may_evict


@pytest.mark.looptime
async def test_an_overdue_pod_is_evicted_only_when_the_member_is_healthy_again(monkeypatch: pytest.MonkeyPatch) -> None:
    above, healthy = Parent(owned=True), asyncio.Event()
    monkeypatch.setattr(MemberState, "may_evict", property(lambda _: healthy.is_set()))
    async with disrupted(above, "DeletionByTaintManager", Timed()):
        await asyncio.sleep(300.0)
        assert deletions(above) == []
        healthy.set()
        await asyncio.sleep(31.0)
        assert len(deletions(above)) == 1
