"""The patch of the parent pod's status, and the status without a member pod."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.merge import apply_status
from tests.unit.pods import NAMES, Manifest, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.pods.container_statuses import restarts
from vk_provider.translate.pods.status import failed, not_ready_patch, reflected, status_patch, waiting

NOW, LATER = "2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z"
KUBELETS_CONDITIONS = ("Initialized", "Ready", "ContainersReady")

times = st.sampled_from(["2026-03-01T10:00:00Z", "2026-03-01T11:00:00Z"])
conditions = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [*KUBELETS_CONDITIONS, "PodScheduled", "PodResizePending", "example.com/gate", "Other"]
        ),
        "status": st.sampled_from(["True", "False"]),
    },
    optional={
        "lastTransitionTime": times,
        "lastProbeTime": st.none(),
        "reason": st.sampled_from(["A", "B"]),
        "message": st.sampled_from(["x", "y"]),
        "observedGeneration": st.integers(1, 3),
    },
)
states = st.sampled_from(
    [
        {"running": {"startedAt": "2026-03-01T10:00:00Z"}},
        {"waiting": {"reason": "CrashLoopBackOff"}},
        {"terminated": {"exitCode": 0}},
        {"terminated": {"exitCode": 1}},
    ]
)


def container_statuses(*names: str) -> st.SearchStrategy[list[Manifest]]:
    return st.tuples(
        *(
            st.fixed_dictionaries(
                {"name": st.just(name), "restartCount": st.integers(0, 5), "state": states, "lastState": st.just({})}
            )
            for name in names
        )
    ).map(list)


addresses = st.lists(st.sampled_from(["10.0.0.1", "10.0.0.2", "fd00::1"]), max_size=2, unique=True).map(
    lambda ips: [{"ip": ip} for ip in ips]
)
statuses = st.fixed_dictionaries(
    {"phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed"])},
    optional={
        "conditions": st.lists(conditions, max_size=4, unique_by=lambda entry: str(entry["type"])),
        "containerStatuses": container_statuses("app"),
        "initContainerStatuses": container_statuses("setup"),
        "podIP": st.just("10.0.0.1"),
        "podIPs": addresses,
        "hostIPs": addresses,
        "qosClass": st.sampled_from(["BestEffort", "Burstable"]),
        "reason": st.just("Evicted"),
        "observedGeneration": st.integers(1, 3),
        "resources": st.dictionaries(st.sampled_from(["limits", "requests"]), st.just({"cpu": "1"}), max_size=2),
        "futureField": st.dictionaries(st.sampled_from("ab"), st.integers(0, 2), max_size=2),
    },
)
parents = st.builds(
    lambda spec, status, generation: pod(spec, status, generation=generation),
    st.fixed_dictionaries(
        {"restartPolicy": st.sampled_from(["Always", "OnFailure", "Never"])},
        optional={"readinessGates": st.just([{"conditionType": "example.com/gate"}])},
    ),
    statuses,
    st.integers(0, 3),
)
members = st.builds(
    lambda status, generation, counts: pod(
        status=status, uid="m-1", labels=NAMES.labels, generation=generation, annotations=counts
    ),
    statuses,
    st.integers(0, 3),
    st.sampled_from([{}, {wellknown.RESTARTS: '{"app":3}'}]),
)


def no_nulls(value: Any) -> Any:
    """Removes null fields: null means absent."""
    if isinstance(value, dict):
        return {key: no_nulls(part) for key, part in value.items() if part is not None}
    return [no_nulls(part) for part in value] if isinstance(value, list) else value


def by_type(status: Manifest) -> dict[str, Manifest]:
    return {entry["type"]: no_nulls(entry) for entry in status.get("conditions", [])}


def written(parent: Pod, wanted: Manifest) -> Manifest:
    return fields(apply_status(parent, status_patch(parent, wanted)).status)


@given(parents, members)
def test_the_patch_sets_every_wanted_field(parent: Pod, member: Pod) -> None:
    wanted = reflected(parent, member, now=NOW)
    after = written(parent, wanted)
    assert {k: no_nulls(after.get(k)) for k in wanted if k != "conditions"} == {
        k: no_nulls(v) for k, v in wanted.items() if k != "conditions"
    }


@given(parents, members)
def test_the_patch_sets_exactly_the_wanted_fields_of_every_condition(parent: Pod, member: Pod) -> None:
    wanted = reflected(parent, member, now=NOW)
    after = by_type(written(parent, wanted))
    assert {kind: after.get(kind) for kind in by_type(wanted)} == by_type(wanted)


@given(parents, members)
def test_the_patch_keeps_fields_of_the_parent(parent: Pod, member: Pod) -> None:
    before, after = fields(parent.status), written(parent, reflected(parent, member, now=NOW))
    assert after.get("qosClass") == before.get("qosClass")
    scheduled = by_type(before).get("PodScheduled", {})
    assert by_type(after)["PodScheduled"] == scheduled or scheduled.get("status") != "True"


@given(parents, members)
def test_the_patch_removes_all_fields_of_an_earlier_member_pod(parent: Pod, member: Pod) -> None:
    wanted = reflected(parent, member, now=NOW)
    assert written(parent, wanted).keys() <= wanted.keys() | {"qosClass", "observedGeneration"}


@given(parents, members)
def test_a_second_patch_is_not_needed(parent: Pod, member: Pod) -> None:
    wanted = reflected(parent, member, now=NOW)
    assert status_patch(apply_status(parent, status_patch(parent, wanted)), wanted) is None


@given(parents, members)
def test_reflecting_again_later_changes_nothing(parent: Pod, member: Pod) -> None:
    after = apply_status(parent, status_patch(parent, reflected(parent, member, now=NOW)))
    assert status_patch(after, reflected(after, member, now=LATER)) is None


@given(parents, members)
def test_a_terminal_phase_never_changes(parent: Pod, member: Pod) -> None:
    before = fields(parent.status)["phase"]
    after = reflected(parent, member, now=NOW)["phase"]
    assert before not in ("Succeeded", "Failed") or after == before


@settings(max_examples=200)
@given(parents, members)
def test_an_api_server_accepts_the_new_states_of_containers(parent: Pod, member: Pod) -> None:
    """The rule of ValidateContainerStateTransition: a container that must not restart stays terminated."""
    policy = fields(parent.spec)["restartPolicy"]
    before, after = fields(parent.status), written(parent, reflected(parent, member, now=NOW))
    for field in ("containerStatuses", "initContainerStatuses"):
        now = {entry["name"]: entry["state"] for entry in after.get(field, [])}
        for entry in before.get(field, []):
            end = entry["state"].get("terminated")
            final = end and (policy == "Never" or (policy == "OnFailure" and end["exitCode"] == 0))
            if final and entry["name"] in now:
                assert "terminated" in now[entry["name"]]


@given(parents, members)
def test_a_patch_has_the_uid_of_the_parent_pod(parent: Pod, member: Pod) -> None:
    patch = status_patch(parent, reflected(parent, member, now=NOW))
    assert patch is None or patch["metadata"] == {"uid": "p-1"}


@given(parents)
def test_setting_a_pod_to_waiting_is_idempotent(parent: Pod) -> None:
    after = apply_status(parent, status_patch(parent, waiting(parent, "NameConflict", "taken")))
    assert status_patch(after, waiting(after, "NameConflict", "taken")) is None


@given(parents)
def test_setting_a_pod_to_failed_is_idempotent(parent: Pod) -> None:
    after = apply_status(parent, status_patch(parent, failed("MemberPodLost", "gone")))
    assert status_patch(after, failed("MemberPodLost", "gone")) is None


RUNNING: Manifest = {
    "phase": "Running",
    "podIP": "10.0.0.1",
    "conditions": [
        {"type": "PodScheduled", "status": "True"},
        {"type": "Ready", "status": "True", "lastTransitionTime": NOW},
        {"type": wellknown.CREATED_CONDITION, "status": "True"},
    ],
    "containerStatuses": [
        {"name": "app", "restartCount": 4, "ready": True, "started": True, "state": {"running": {}}, "lastState": {}}
    ],
}


@pytest.mark.parametrize("date", [{}, {"lastTransitionTime": None}])
def test_a_condition_without_a_date_keeps_the_date_of_its_first_patch(date: Manifest) -> None:
    member = pod(status={"phase": "Running", "conditions": [{"type": "Ready", "status": "True", **date}]})
    parent = apply_status(pod(), status_patch(pod(), reflected(pod(), member, now=NOW)))
    (ready,) = (c for c in fields(parent.status)["conditions"] if c["type"] == "Ready")
    assert ready["lastTransitionTime"] == NOW
    assert status_patch(parent, reflected(parent, member, now=LATER)) is None


def test_each_container_of_a_waiting_pod_has_the_reason() -> None:
    two = pod({"containers": [{"name": "app", "image": "app:1"}, {"name": "side", "image": "side:1"}]})
    states = [entry["state"] for entry in waiting(two, "NameConflict", "taken")["containerStatuses"]]
    assert states == [{"waiting": {"reason": "NameConflict", "message": "taken"}}] * 2


def test_a_waiting_pod_has_no_address() -> None:
    assert "podIP" not in written(pod(status=RUNNING), waiting(pod(status=RUNNING), "MemberRefused"))


def test_a_waiting_pod_is_not_ready() -> None:
    after = written(pod(status=RUNNING), waiting(pod(status=RUNNING), "MemberRefused"))
    assert by_type(after)["Ready"]["status"] == "False"


def test_a_waiting_pod_keeps_the_condition_that_it_was_created() -> None:
    after = written(pod(status=RUNNING), waiting(pod(status=RUNNING), "MemberRefused"))
    assert by_type(after)[wellknown.CREATED_CONDITION]["status"] == "True"


def test_a_waiting_pod_keeps_its_restart_counts() -> None:
    parent = pod(status=RUNNING)
    before = restarts(parent)
    assert restarts(apply_status(parent, status_patch(parent, waiting(parent, "MemberRefused")))) == before


def test_a_pod_of_a_lost_member_is_not_ready_and_nothing_else_changes() -> None:
    parent = pod(status=RUNNING)
    after = apply_status(parent, not_ready_patch(parent, "no answer", now=LATER))
    was, now = fields(parent.status), fields(after.status)
    assert by_type(now).pop("Ready") == {
        "type": "Ready",
        "status": "False",
        "reason": wellknown.MEMBER_LOST,
        "message": "no answer",
        "lastTransitionTime": LATER,
    }
    assert {**now, "conditions": None} == {**was, "conditions": None}
    assert not_ready_patch(after, "no answer", now=LATER) is None


def test_a_failed_pod_is_not_ready() -> None:
    after = written(pod(status=RUNNING), failed("MemberPodLost", "gone"))
    assert by_type(after)["Ready"]["status"] == "False"


def test_the_containers_of_a_failed_pod_are_terminated() -> None:
    after = written(pod(status=RUNNING), failed("MemberPodLost", "gone"))
    assert after["containerStatuses"][0]["state"]["terminated"]["reason"] == "ContainerStatusUnknown"


def test_a_terminated_container_of_a_failed_pod_keeps_its_state() -> None:
    ended = {"name": "app", "restartCount": 0, "state": {"terminated": {"exitCode": 3}}}
    after = written(pod(status={"phase": "Running", "containerStatuses": [ended]}), failed("MemberPodLost", "gone"))
    assert after["containerStatuses"] == [ended]


def test_a_pod_that_is_rejected_before_creation_has_no_container_statuses() -> None:
    assert written(pod(), failed("NotSupportedByVirtualNode", "no")).keys() == {"phase", "reason", "message"}


@pytest.mark.parametrize(
    ("status", "count"),
    [
        ({"state": {"running": {}}}, {"app": 1}),
        ({"state": {"running": {}}, "restartCount": 2}, {"app": 3}),
        ({"state": {"terminated": {"exitCode": 0}}}, {"app": 1}),
        ({"state": {"waiting": {}}, "lastState": {"terminated": {}}, "restartCount": 2}, {"app": 3}),
        ({"state": {"waiting": {}}}, {}),
        ({"state": {"waiting": {}}, "restartCount": 2}, {"app": 2}),
        ({}, {}),
    ],
)
def test_the_next_member_pod_counts_one_more_restart_of_a_container_that_ran(
    status: Manifest, count: dict[str, int]
) -> None:
    assert restarts(pod(status={"containerStatuses": [{"name": "app", **status}]})) == count
