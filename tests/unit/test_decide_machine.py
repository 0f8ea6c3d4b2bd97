"""A model of everything around `decide`: its guarantees hold for all actions of users, other clients and kubelets.

There is one name, `shop/web-1`, in one parent and one member. Caches are complete and current. The provider performs
one action at a time, and may restart in between: whatever it needs to know then is in the parent pod.

The model omits one case that no pure function can handle: the provider restarts after it has created a member pod and
before the parent pod records that, while another client deletes the member pod.
"""

from __future__ import annotations

from typing import assert_never

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from tests.unit.merge import apply_pod, apply_status
from tests.unit.pod_clusters import Clusters
from tests.unit.pods import NAMES, TARGET, as_pod, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import TERMINAL, Pod, fields, pod_phase
from vk_provider.translate.pods.change import changes
from vk_provider.translate.pods.container_statuses import restarts
from vk_provider.translate.pods.decide import (
    AwaitGone,
    Conflict,
    Create,
    Delete,
    Evict,
    Fail,
    Finish,
    Keep,
    Nothing,
    Orphan,
    Reflect,
    decide,
)
from vk_provider.translate.pods.pod import member_pod
from vk_provider.translate.pods.status import failed, reflected, status_patch, waiting

STEPS_TO_SYNC = 20  # more than any life needs: two incarnations, a deletion, a create, its start and its reflection


class World(Clusters):
    """The clusters with other clients and the provider."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Pod | None = None  # in the provider's memory: the last observed member pod
        self.created_uid = ""  # and the UID of the parent pod for which it created the last one
        self.created: dict[str, int] = {}  # parent UID -> member pods ever created for it
        self.finals: dict[str, str] = {}  # parent UID -> its terminal phase, once it had one
        self.shown_restarts: dict[str, int] = {}  # parent UID -> the restarts that it showed last

    # Actions of other clients in the member.

    @rule(forged=st.booleans(), grace=st.sampled_from([0, 30]))
    def another_client_acts(self, forged: bool, grace: int) -> None:
        if self.foreign is not None:
            self.member = self.foreign = None
        elif self.member is None:
            labels = {"app": "web"} | ({wellknown.NODE_LABEL: NAMES.node} if forged else {})
            self.member = self.foreign = pod(uid=self._uid("f"), labels=labels, status={"phase": "Running"})
        elif self._known() or (self.parent is not None and self.created_uid == self.parent.metadata.uid):
            self.member = self._deleted(self.member, grace) if grace else None

    @rule()
    def another_client_deletes_at_once(self) -> None:
        """A member pod that the provider creates now is deleted before the provider reads it again."""
        before = self.member
        self._act()
        if before is None and self._ours_in("Pending"):
            self.member = None

    # Actions of the provider.

    @rule(times=st.integers(1, 3))
    def provider_acts(self, times: int) -> None:
        for _ in range(times):
            self._act()
            self.a_terminal_phase_never_changes()

    @rule()
    def provider_restarts(self) -> None:
        if self._known() or self._member_pod_stays():
            self.last, self.created_uid = None, ""

    @rule()
    def only_the_provider_and_the_kubelet_act(self) -> None:
        """From any state, the provider and the kubelet reach a stable state, and the correct one."""
        for _ in range(STEPS_TO_SYNC):
            before = self._state()
            self._act()
            if self.member is not None and self.member.metadata.deletion_timestamp is not None:
                self._kubelet_stops()
            elif self._ours_in("Pending"):
                self._kubelet_starts()
            if self._state() == before:
                break
        else:
            raise AssertionError("the provider never reaches a stable state")
        self._check_stable_state()

    def teardown(self) -> None:
        self.only_the_provider_and_the_kubelet_act()

    def _check_stable_state(self) -> None:
        ours = self.member if self.foreign is None else None
        if self.parent is None:
            assert ours is None, "a member pod runs without its parent pod"
            return
        assert self.parent.metadata.deletion_timestamp is None, "a deleted parent pod still exists"
        phase = pod_phase(self.parent).phase
        if phase in TERMINAL:
            return
        if self.foreign is not None:
            states = [c["state"] for c in fields(self.parent.status)["containerStatuses"]]
            assert all(state.get("waiting", {}).get("reason") == wellknown.NAME_CONFLICT for state in states)
            return
        assert ours is not None and ours.metadata.annotations[wellknown.PARENT_UID] == self.parent.metadata.uid
        assert phase == pod_phase(ours).phase == "Running"
        assert changes(self.parent, ours, TARGET) == []

    @invariant()
    def a_pod_of_another_client_never_changes(self) -> None:
        assert self.foreign is None or self.member is self.foreign

    @invariant()
    def a_terminal_phase_never_changes(self) -> None:
        if self.parent is not None:
            uid, phase = self.parent.metadata.uid, pod_phase(self.parent).phase
            assert self.finals.get(uid, phase) == phase
            if phase in TERMINAL:
                self.finals[uid] = phase

    @invariant()
    def pods_that_always_restart_never_terminate(self) -> None:
        if self.parent is not None and self.parent.metadata.deletion_timestamp is None:
            phase, policy = pod_phase(self.parent).phase, fields(self.parent.spec)["restartPolicy"]
            assert phase not in TERMINAL or policy == "Never" or (policy, phase) == ("OnFailure", "Succeeded")

    @invariant()
    def pods_that_must_not_restart_are_created_once(self) -> None:
        if self.parent is not None and fields(self.parent.spec)["restartPolicy"] == "Never":
            assert self.created.get(self.parent.metadata.uid, 0) <= 1

    @invariant()
    def restart_counts_never_decrease(self) -> None:
        if self.parent is not None and self.foreign is None:
            uid = self.parent.metadata.uid
            shown = sum(c["restartCount"] for c in fields(self.parent.status).get("containerStatuses", []))
            assert shown >= self.shown_restarts.get(uid, 0)
            self.shown_restarts[uid] = shown

    def _act(self) -> None:
        parent, member = self.parent, self.member
        action = decide(parent, member, NAMES, now=self.now, created_uid=self.created_uid)
        match action:
            case Create(recreate=recreate):
                assert parent is not None and member is None, "a second member pod with the same name"
                self._create(parent, recreate)
            case Reflect():
                assert parent is not None and member is not None
                for change in changes(parent, member, TARGET):
                    assert change.patch["metadata"]["uid"] == member.metadata.uid
                    member = self.member = apply_pod(member, change.patch)
                self._reflect(parent, member)
            case AwaitGone() | Keep(reflect=True):
                assert parent is not None and member is not None
                self._reflect(parent, member)
            case Delete(uid=uid, grace_seconds=grace):
                assert member is not None and member.metadata.uid == uid
                assert grace is None or grace >= 1, "with grace 0, containers may outlive their pod"
                self.member = self._deleted(member, 30 if grace is None else grace)
            case Orphan():
                assert parent is None and member is not None
                self.member = self._deleted(member, 30)
            case Evict():
                assert parent is not None
                self.parent = self._deleted(parent, 30)
            case Finish():
                assert parent is not None and not self._is_of(parent, member), "the pod ends before its containers"
                if self.last is not None and self._is_of(parent, self.last):
                    self._reflect(parent, self.last)
                self.a_terminal_phase_never_changes()
                self.parent = None
            case Fail() | Conflict():
                assert parent is not None
                self._show(parent, action)
            case Keep() | Nothing():
                pass
            case _:
                assert_never(action)

    def _show(self, parent: Pod, action: Fail | Conflict) -> None:
        if isinstance(action, Fail):
            wanted = failed(action.reason, action.message)
        else:
            wanted = waiting(parent, wellknown.NAME_CONFLICT, action.message)
        self.parent = apply_status(parent, status_patch(parent, wanted))

    def _create(self, parent: Pod, recreate: bool) -> None:
        manifest = member_pod(parent, TARGET, restarts=restarts(parent) if recreate else None)
        manifest["metadata"]["uid"] = self._uid("m")
        manifest["status"] = {"phase": "Pending"}
        self.member = as_pod(manifest)
        self.created_uid = parent.metadata.uid
        self.created[parent.metadata.uid] = self.created.get(parent.metadata.uid, 0) + 1

    def _reflect(self, parent: Pod, member: Pod) -> None:
        self.last = member
        wanted = reflected(parent, member, now=self._stamp())
        self.parent = apply_status(parent, status_patch(parent, wanted))

    def _is_of(self, parent: Pod, member: Pod | None) -> bool:
        return (
            member is not None
            and NAMES.owns(member.metadata.labels)
            and member.metadata.annotations[wellknown.PARENT_UID] == parent.metadata.uid
        )

    def _known(self) -> bool:
        """Whether the parent pod records the creation of its member pod. True if either does not exist."""
        return (
            self.parent is None
            or self.parent.metadata.uid not in self.created
            or pod_phase(self.parent).has(wellknown.CREATED_CONDITION)
        )

    def _member_pod_stays(self) -> bool:
        """Whether a provider that restarts now finds the member pod, for it exists and is not being deleted."""
        if self.parent is None or self.member is None or self.member.metadata.deletion_timestamp is not None:
            return False
        return self._is_of(self.parent, self.member)


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=250, stateful_step_count=25)
