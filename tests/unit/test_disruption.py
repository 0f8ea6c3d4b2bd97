"""A member pod that a client of the member deletes: the status of the parent pod, and when it is evicted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.merge import apply_status
from tests.unit.pods import NAMES, Manifest, pod
from tests.unit.test_way_of_a_pod import RUNNING, SCHEDULED, SPEC, Server, served
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, OwnedMetadata, OwnerReference, Pod, fields
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import Resource
from vk_provider.translate.pods.decide import Action, Create, Delete, Evict, Fail, Finish, Keep, Reflect, decide
from vk_provider.translate.pods.disruption import Disruption, not_evictable
from vk_provider.translate.pods.status import failed, reflected, status_patch, waiting

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
STAMP = "2026-03-01T12:00:00Z"
CREATED = {"type": wellknown.CREATED_CONDITION, "status": "True"}
ACTIVE: Manifest = {"phase": "Running", "conditions": [CREATED]}


def target(reason: str, status: str = "True", at: str = STAMP) -> Manifest:
    return {
        "type": "DisruptionTarget",
        "status": status,
        "reason": reason,
        "message": "m",
        "lastTransitionTime": at,
    }


def parent(policy: str = "Always", status: Manifest | None = None, **metadata: Any) -> Pod:
    return pod({"restartPolicy": policy}, ACTIVE if status is None else status, **metadata)


def member(status: Manifest | None = None, **metadata: Any) -> Pod:
    annotations = {wellknown.PARENT_UID: "p-1"}
    return pod(
        status=status or {"phase": "Running"}, uid="m-1", labels=NAMES.labels, annotations=annotations, **metadata
    )


def deleted(seconds_ago: float, *conditions: Manifest, phase: str = "Running", **status: Any) -> Pod:
    """A member pod whose grace period ended `seconds_ago`."""
    at = (NOW - timedelta(seconds=seconds_ago)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return member({"phase": phase, "conditions": list(conditions), **status}, deletionTimestamp=at)


def action(parents: Pod, members: Pod | None, **options: Any) -> Action:
    return decide(parents, members, NAMES, now=NOW, **options)


def shown(parents: Pod, members: Pod) -> Manifest:
    """The status of the parent pod after that of the member pod is reflected."""
    return fields(apply_status(parents, status_patch(parents, reflected(parents, members, now=STAMP))).status)


def disruption(status: Manifest) -> Manifest | None:
    return next((c for c in status.get("conditions") or () if c["type"] == "DisruptionTarget"), None)


@pytest.mark.parametrize("policy", ["Never", "OnFailure"])
def test_a_pod_that_ends_well_while_it_is_deleted_in_the_member_has_succeeded(policy: str) -> None:
    after = shown(parent(policy), deleted(0, target("EvictionByEvictionAPI"), phase="Succeeded"))
    assert after["phase"] == "Succeeded"


def test_a_pod_that_fails_while_it_is_deleted_in_the_member_was_disrupted() -> None:
    after = shown(parent("Never"), deleted(0, phase="Failed"))
    assert after["phase"] == "Failed"
    assert (disruption(after) or {})["reason"] == wellknown.DELETED_IN_MEMBER


def test_the_reason_of_the_member_for_a_disruption_passes() -> None:
    after = shown(parent("Never"), deleted(0, target("EvictionByEvictionAPI"), phase="Failed"))
    assert (disruption(after) or {})["reason"] == "EvictionByEvictionAPI"


def test_a_pod_that_failed_by_itself_was_not_disrupted_when_its_member_pod_is_deleted_later() -> None:
    before = parent("Never", {"phase": "Failed", "conditions": [CREATED]})
    assert disruption(shown(before, deleted(0, phase="Failed"))) is None


@pytest.mark.parametrize(("policy", "phase"), [("Always", "Failed"), ("Always", "Succeeded"), ("OnFailure", "Failed")])
def test_an_end_that_a_kubelet_would_follow_by_a_restart_is_not_the_end_of_the_pod(policy: str, phase: str) -> None:
    assert shown(parent(policy), deleted(0, phase=phase))["phase"] == "Running"


def test_a_lost_pod_that_must_not_restart_was_disrupted() -> None:
    lost = action(parent("Never"), None)
    assert isinstance(lost, Fail)
    assert lost.reason == wellknown.MEMBER_POD_LOST
    before = parent("Never")
    after = fields(apply_status(before, status_patch(before, failed(lost.reason, lost.message))).status)
    assert (disruption(after) or {})["reason"] == wellknown.MEMBER_POD_LOST


def test_a_lost_pod_keeps_the_reason_that_the_member_gave() -> None:
    before = parent("Never", {**ACTIVE, "conditions": [CREATED, target("EvictionByEvictionAPI")]})
    after = fields(apply_status(before, status_patch(before, failed(wellknown.MEMBER_POD_LOST, "gone"))).status)
    assert (disruption(after) or {})["reason"] == "EvictionByEvictionAPI"


def test_a_pod_that_is_rejected_was_not_disrupted() -> None:
    after = fields(apply_status(parent(), status_patch(parent(), failed("NodePorts", "taken"))).status)
    assert disruption(after) is None


@pytest.mark.parametrize(
    ("members", "wanted"),
    [
        pytest.param(deleted(-30), Reflect(), id="in its grace period: reflect"),
        pytest.param(deleted(59), Reflect(), id="being removed: reflect"),
        pytest.param(deleted(59, target("EvictionByEvictionAPI")), Reflect(), id="drained: reflect"),
        pytest.param(member({"conditions": [target("PreemptionByScheduler")]}), Reflect(), id="not deleted: reflect"),
        pytest.param(deleted(-30, target("PreemptionByScheduler", "False")), Reflect(), id="no disruption: reflect"),
    ],
)
def test_a_pod_whose_deletion_in_the_member_is_not_overdue_stays(members: Pod, wanted: Action) -> None:
    assert action(parent(), members) == wanted


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        (deleted(60), wellknown.MEMBER_POD_OVERDUE),
        (deleted(3600, target("EvictionByEvictionAPI")), wellknown.MEMBER_POD_OVERDUE),
        (deleted(60, phase="Failed"), wellknown.MEMBER_POD_OVERDUE),
        (deleted(-30, target("DeletionByTaintManager")), "DeletionByTaintManager"),
        (deleted(-30, target("PreemptionByScheduler")), "PreemptionByScheduler"),
    ],
)
def test_a_pod_whose_deletion_in_the_member_is_overdue_is_evicted(members: Pod, reason: str) -> None:
    found = action(parent(), members)
    assert isinstance(found, Evict)
    assert found.disruption.reason == reason
    assert action(parent(), members, evictable=False) == Reflect()


def test_the_clock_of_the_member_decides_whether_a_deletion_is_overdue() -> None:
    assert action(parent(), deleted(60), member_now=NOW - timedelta(hours=1)) == Reflect()
    assert isinstance(action(parent(), deleted(-30), member_now=NOW + timedelta(hours=1)), Evict)


@pytest.mark.parametrize("reason", ["PreemptionByScheduler", "DeletionByTaintManager"])
def test_a_pod_whose_place_was_given_away_is_evicted_also_when_it_is_gone(reason: str) -> None:
    before = parent("Always", {**ACTIVE, "conditions": [CREATED, target(reason)]})
    assert action(before, None) == Evict(Disruption(reason, "m"))
    assert action(before, None, evictable=False) == Create(recreate=True)


def test_a_drained_pod_that_is_gone_is_created_again() -> None:
    before = parent("Always", {**ACTIVE, "conditions": [CREATED, target("EvictionByEvictionAPI")]})
    assert action(before, None) == Create(recreate=True)


def test_a_pod_that_has_ended_is_never_evicted() -> None:
    before = parent("Never", {"phase": "Succeeded", "conditions": [CREATED]})
    assert action(before, deleted(3600, phase="Succeeded")) == Keep(reflect=True)


def test_a_pod_that_is_deleted_in_the_parent_is_never_evicted() -> None:
    going = parent(deletionTimestamp=STAMP, deletionGracePeriodSeconds=30)
    assert not isinstance(action(going, deleted(3600)), Evict)


@pytest.mark.parametrize(
    ("metadata", "obstacle"),
    [
        (OwnedMetadata(owner_references=[OwnerReference("ReplicaSet", "web", controller=True)]), ""),
        (OwnedMetadata(owner_references=[OwnerReference("Workflow", "w")]), "no controller would replace it"),
        (OwnedMetadata(), "no controller would replace it"),
        (
            OwnedMetadata(
                owner_references=[OwnerReference("StatefulSet", "db", controller=True)],
                annotations={wellknown.AT_MOST_ONCE: "true"},
            ),
            f"it has the annotation {wellknown.AT_MOST_ONCE}",
        ),
    ],
)
def test_a_pod_is_evicted_only_if_something_replaces_it(metadata: OwnedMetadata, obstacle: str) -> None:
    assert not_evictable(metadata) == obstacle


def test_a_new_member_pod_ends_the_conditions_of_an_earlier_one() -> None:
    earlier = [CREATED, target("EvictionByEvictionAPI", at="2026-03-01T11:00:00Z")]
    earlier += [{"type": kind, "status": "True"} for kind in ("Initialized", "PodReadyToStartContainers", "Example")]
    new = member({"phase": "Pending"}, creationTimestamp="2026-03-01T11:00:00Z")
    after = shown(parent("Always", {**ACTIVE, "conditions": earlier}), new)
    assert {c["type"] for c in after["conditions"]} == {wellknown.CREATED_CONDITION, "Example", "PodScheduled"}
    assert after["phase"] == "Running"


def test_a_condition_that_a_controller_of_the_parent_has_just_set_stays() -> None:
    before = parent("Always", {**ACTIVE, "conditions": [CREATED, target("EvictionByEvictionAPI")]})
    after = shown(before, member(creationTimestamp="2026-03-01T11:00:00Z"))
    assert (disruption(after) or {})["reason"] == "EvictionByEvictionAPI"


def test_a_pod_that_has_run_is_not_pending_while_its_next_member_pod_is_refused() -> None:
    after = fields(apply_status(parent(), status_patch(parent(), waiting(parent(), "MemberRefused"))).status)
    assert after["phase"] == "Running"


phases = st.sampled_from(["Pending", "Running", "Succeeded", "Failed"])
policies = st.sampled_from(["Always", "OnFailure", "Never"])
reasons = st.sampled_from(["PreemptionByScheduler", "DeletionByTaintManager", "EvictionByEvictionAPI"])


@given(policies, phases, phases, st.integers(-300, 300), reasons, st.booleans())
def test_whatever_the_member_does_with_a_pod_it_has_one_end(
    policy: str, before: str, there: str, seconds: int, reason: str, evictable: bool
) -> None:
    """From any pair of pods: reflect, decide, and never both evict a pod and show its end."""
    above = parent(policy, {"phase": before, "conditions": [CREATED]})
    below = deleted(seconds, target(reason), phase=there)
    after = apply_status(above, status_patch(above, reflected(above, below, now=STAMP)))
    ended = fields(after.status)["phase"] in ("Succeeded", "Failed")
    found = action(after, below, evictable=evictable)
    assert not isinstance(found, Create | Finish | Delete)
    assert isinstance(found, Keep) == ended
    assert not isinstance(found, Evict) or (evictable and not ended)
    gone = action(after, None, evictable=evictable)
    assert isinstance(gone, Keep) == ended
    if policy == "Never":
        assert not isinstance(gone, Create), "it would run twice"
    elif not isinstance(gone, Evict) and not ended:
        assert gone == Create(recreate=True)


class Parent(Server):
    """Has one pod, of a ReplicaSet or without a controller, and can delete it."""

    def __init__(self, *, owned: bool) -> None:
        super().__init__()
        self.owned = owned

    async def request(self, method: str, path: str, *, body: bytes | None = None, **options: Any) -> bytes:
        if method == "GET":
            owners = [{"kind": "ReplicaSet", "name": "web", "controller": True}] if self.owned else []
            return msgspec.json.encode({"metadata": {"name": "web", "uid": "p-web", "ownerReferences": owners}})
        if method == "DELETE":
            self.written.append((method, path, msgspec.json.decode(body or b"{}")))
            return b"{}"
        return await super().request(method, path, body=body, **options)


class Timed(Server):
    """A server whose clock goes on."""

    def server_time(self) -> datetime:
        return super().server_time() + timedelta(seconds=asyncio.get_running_loop().time())


@asynccontextmanager
async def disrupted(above: Parent, reason: str, below: Server) -> AsyncIterator[Server]:
    """A running pod whose member pod is being deleted, for that reason, with a grace of 30 s."""
    with pytest.raises(ExceptionGroup):
        async with served(above, below):
            metadata = {"name": "web", "namespace": "shop", "uid": "p-web", "resourceVersion": "5"}
            above.feed("ADDED", metadata, spec=SPEC, status={"phase": "Pending", "conditions": [SCHEDULED]})
            await eventually_here(lambda: below.written, "the member pod is created")
            made = below.written[0][2]["metadata"] | {"uid": "m-1", "resourceVersion": "7"}
            going = {"deletionTimestamp": "2026-03-01T10:00:30Z", "deletionGracePeriodSeconds": 30}
            status = {"phase": "Running", "containerStatuses": [RUNNING], "conditions": [target(reason)]}
            below.feed("MODIFIED", made | going, spec=SPEC, status=status)
            yield below


def deletions(server: Server) -> list[Manifest]:
    return [body for method, _, body in server.written if method == "DELETE"]


async def test_the_loop_evicts_a_pod_of_a_controller() -> None:
    above = Parent(owned=True)
    async with disrupted(above, "DeletionByTaintManager", Server()):
        await eventually_here(lambda: deletions(above), "the parent pod is deleted")
    (options,) = deletions(above)
    assert options["preconditions"] == {"uid": "p-web"}
    assert "gracePeriodSeconds" not in options, "with the grace of the pod itself"
    conditions = [c for method, _, body in above.written if method == "PATCH" for c in body["status"]["conditions"]]
    assert "DeletionByTaintManager" in {c.get("reason") for c in conditions}


@pytest.mark.looptime
async def test_the_loop_evicts_a_pod_when_its_deletion_is_overdue() -> None:
    """Its kubelet does not end it, and nothing in the member changes any more."""
    above, loop = Parent(owned=True), asyncio.get_running_loop()
    async with disrupted(above, "EvictionByEvictionAPI", Timed()):
        await eventually_here(lambda: deletions(above), "the parent pod is deleted")
        assert 90 <= loop.time() < 95, "60 s after the end of its grace"


async def test_the_loop_keeps_a_pod_without_a_controller_and_reports_it(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[tuple[str, str]] = []

    def note(_recorder: Recorder, _resource: Resource, _about: Metadata, _type: str, reason: str, message: str) -> None:
        events.append((reason, message))

    monkeypatch.setattr(Recorder, "event", note)
    above = Parent(owned=False)
    async with disrupted(above, "PreemptionByScheduler", Server()):
        await eventually_here(lambda: events, "an Event has the reason")
        await asyncio.sleep(0)
    assert [reason for reason, _ in events] == [wellknown.NOT_EVICTED]
    assert "no controller would replace it" in events[0][1]
    assert deletions(above) == []
