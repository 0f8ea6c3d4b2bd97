"""The long randomized run: each rule reports its violation and nothing else; a seed determines the plan."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos.actions import ACTIONS
from tests.chaos.history import PARENT, Container, History, Seen, seen
from tests.chaos.in_sync import Contents, out_of_sync
from tests.chaos.invariants import ALWAYS, WHEN_IN_SYNC, violations
from tests.chaos.plan import plan
from vk_provider.api import wellknown

WEB = Seen(PARENT, "red/web", "p-1", "", "alpha", "Running", "Always", 0)
MEMBER = Seen("alpha", "red/web", "m-1", "p-1", "alpha-node", "Running", "Always", 0)
BOX = Container("alpha", "m-1", "p-1", "Always", started=1.0)


def rules(*events: Seen, containers: tuple[Container, ...] = (), interfered: tuple[str, ...] = ()) -> set[str]:
    """Names of the rules that this history violates."""
    history = History(list(events), list(containers), set(interfered))
    return {found.partition(":")[0] for found in violations(history, WHEN_IN_SYNC)}


def test_an_ordinary_life_violates_no_rule() -> None:
    life = [
        replace(WEB, phase="Pending"),
        replace(MEMBER, phase="Pending", node=""),
        MEMBER,
        WEB,
        replace(WEB, deleting=True),
        replace(MEMBER, deleting=True),
        replace(MEMBER, deleting=True, phase="Failed", gone=True),
        replace(WEB, deleting=True, phase="Failed", gone=True, at=3.0),
    ]
    assert rules(*life, containers=(replace(BOX, ended=2.0),)) == set()


@pytest.mark.parametrize("after", ["Running", "Pending", "Failed", ""])
def test_a_change_of_a_terminal_phase_is_a_violation(after: str) -> None:
    assert rules(replace(WEB, phase="Succeeded"), replace(WEB, phase=after)) == {"terminal_phases_never_change"}


def test_a_new_pod_with_the_same_name_may_have_another_phase() -> None:
    assert rules(replace(WEB, phase="Succeeded", gone=True), replace(WEB, uid="p-2")) == set()


def test_a_decreasing_restart_count_is_a_violation() -> None:
    shown = [replace(MEMBER, restarts=2), replace(WEB, restarts=2), replace(WEB, restarts=1)]
    assert rules(*shown) == {"restart_counts_never_decrease"}


def test_overlapping_containers_of_a_pod_are_a_violation_in_one_member_and_across_members() -> None:
    for second in (replace(BOX, pod_uid="m-2", started=2.0), replace(BOX, cluster="beta", started=2.0)):
        found = rules(WEB, MEMBER, containers=(replace(BOX, ended=3.0), second))
        assert found == {"containers_of_one_pod_never_overlap"}
        assert rules(WEB, MEMBER, containers=(replace(BOX, ended=1.5), second)) == set()
        forced = History([WEB, MEMBER], [replace(BOX, ended=3.0), second], forced={"m-1"})
        assert violations(forced, ALWAYS) == []


def test_a_second_run_of_a_pod_that_must_not_restart_is_a_violation() -> None:
    boxes = replace(BOX, policy="Never", ended=2.0), replace(BOX, policy="Never", started=3.0)
    assert rules(WEB, containers=boxes) == {"pods_that_must_not_restart_run_once"}


def test_a_second_member_pod_of_a_pod_that_must_not_restart_is_a_violation_once_it_runs() -> None:
    first = replace(MEMBER, policy="Never")
    second = replace(first, uid="m-2", phase="Pending")
    assert rules(WEB, first, second) == set()
    found = rules(WEB, first, second, replace(second, phase="Running"))
    assert found == {"member_pods_that_must_not_restart_run_once"}


def test_removal_of_a_pod_before_its_container_ends_is_a_violation_unless_forced() -> None:
    gone = replace(WEB, deleting=True, gone=True, at=5.0)
    late = replace(BOX, ended=6.0)
    assert rules(WEB, gone, containers=(late,)) == {"pods_are_removed_after_their_containers_end"}
    assert rules(WEB, gone, containers=(replace(BOX, ended=4.0),)) == set()
    assert violations(History([WEB, gone], [late], forced={"p-1"}), WHEN_IN_SYNC) == []
    assert violations(History([WEB, gone], [late], forced={"m-1"}), WHEN_IN_SYNC) == []


def test_a_pod_in_two_members_is_a_violation() -> None:
    assert rules(WEB, MEMBER, replace(MEMBER, cluster="beta")) == {"a_parent_pod_is_in_one_member"}


def test_restarts_that_did_not_happen_are_a_violation() -> None:
    assert rules(MEMBER, replace(WEB, restarts=1)) == {"restart_counts_match_the_member"}
    assert rules(replace(MEMBER, restarts=1), replace(WEB, restarts=1)) == set()


def test_a_recreated_member_pod_counts_as_one_restart() -> None:
    lives = [MEMBER, replace(MEMBER, gone=True), replace(MEMBER, uid="m-2"), replace(WEB, restarts=1)]
    assert rules(*lives, interfered=("m-1",)) == set()
    assert rules(*lives[:-1], replace(WEB, restarts=2), interfered=("m-1",)) == {"restart_counts_match_the_member"}


def test_deletion_of_an_active_member_pod_by_the_provider_is_a_violation() -> None:
    gone = replace(MEMBER, deleting=True, gone=True)
    assert rules(WEB, MEMBER, gone) == {"member_pods_of_active_pods_are_kept"}
    assert rules(WEB, MEMBER, gone, interfered=("m-1",)) == set()
    assert rules(WEB, MEMBER, gone, replace(WEB, deleting=True)) == set()


def test_a_running_container_without_its_parent_pod_is_a_violation_only_for_pods_of_the_provider() -> None:
    gone = replace(WEB, gone=True, at=3.0)
    assert "no_container_runs_without_its_parent_pod" in rules(WEB, gone, containers=(BOX,))
    assert rules(WEB, gone, containers=(replace(BOX, ended=2.0),)) == set()
    assert rules(WEB, gone, containers=(replace(BOX, parent_uid=""),)) == set()


def test_rules_for_the_in_sync_state_are_not_checked_at_other_times() -> None:
    gone = replace(MEMBER, gone=True)
    assert violations(History([WEB, MEMBER, gone]), WHEN_IN_SYNC) != []
    assert violations(History([WEB, MEMBER, gone]), ALWAYS) == []


def test_a_seed_determines_a_plan_with_every_action_and_every_kind_of_fault() -> None:
    steps = plan(7, 3600)
    assert steps == plan(7, 3600)
    assert steps != plan(8, 3600)
    assert steps[: len(plan(7, 60)) // 2] == plan(7, 60)[: len(plan(7, 60)) // 2]
    assert {what for what, _, _ in ACTIONS} <= {step.what for step in steps}
    begun = {(step.about, step.args["fault"]) for step in steps if step.what == "begin"}
    assert {("parent", "stopped"), ("alpha", "cut"), ("beta", "half-open")} <= begun
    assert ("parent", "cut") not in begun


def pod(cluster: str = PARENT, *, phase: str = "Running", ready: str = "True", **metadata: object) -> dict[str, object]:
    container = {"name": "main", "image": "web:1", "envFrom": [{"configMapRef": {"name": "config-0"}}]}
    annotations = {} if cluster == PARENT else {wellknown.PARENT_UID: "p-1"}
    uid = "p-1" if cluster == PARENT else "m-1"
    labels = {"app": "web"} | ({} if cluster == PARENT else {wellknown.NODE_LABEL: cluster})
    whole = {"namespace": "red", "name": "web", "uid": uid, "annotations": annotations, "labels": labels}
    status = {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": whole | metadata, "spec": {"nodeName": "alpha", "containers": [container]}, "status": status}


CONFIG = {"metadata": {"namespace": "red", "name": "config-0"}, "data": {"value": "1"}}
ANNOTATIONS = {wellknown.PARENT_NAMESPACE: "red", wellknown.PARENT_NAME: "config-0"}
COPY = {"metadata": {"namespace": "red", "name": "copy", "annotations": ANNOTATIONS}, "data": {"value": "1"}}
IN_SYNC = Contents([pod()], [CONFIG]), Contents([pod("alpha")], [COPY])


def differences(parent: Contents, alpha: Contents) -> list[str]:
    return list(out_of_sync(parent, {"alpha": alpha}))


def test_clusters_that_agree_are_in_sync() -> None:
    assert differences(*IN_SYNC) == []
    assert differences(Contents([], []), Contents([], [])) == []
    assert differences(Contents([pod(phase="Failed")], [CONFIG]), Contents([], [])) == []


@pytest.mark.parametrize(
    ("parent", "alpha", "text"),
    [
        (Contents([pod(deletionTimestamp="x")], []), Contents([], []), "still being deleted"),
        (Contents([pod()], []), Contents([], []), "is not there"),
        (
            Contents([pod()], []),
            Contents([pod("alpha", annotations={wellknown.PARENT_UID: "p-0"})], []),
            "is not there",
        ),
        (Contents([], []), Contents([pod("alpha")], []), "has no parent pod"),
        (Contents([pod(phase="Pending")], []), Contents([pod("alpha")], []), "Pending, Ready True in the parent"),
        (Contents([pod()], []), Contents([pod("alpha", ready="False")], []), "Running, Ready False in the member"),
        (Contents([pod(labels={"app": "new"})], []), Contents([pod("alpha")], []), "labels"),
        (Contents([pod()], []), Contents([pod("alpha", deletionTimestamp="x")], []), "deleted in the member"),
        (Contents([pod()], [CONFIG]), Contents([pod("alpha")], []), "ConfigMap red/config-0 is None"),
        (Contents([], []), Contents([], [COPY]), "left behind"),
    ],
)
def test_each_difference_is_reported(parent: Contents, alpha: Contents, text: str) -> None:
    assert any(text in line for line in differences(parent, alpha))


def test_an_observation_is_read_from_a_pod() -> None:
    container = {"name": "main", "restartCount": 2}
    whole = pod("alpha", deletionTimestamp="x")
    whole["status"] = {"phase": "Running", "containerStatuses": [container, container]}
    assert seen("alpha", whole, gone=True) == Seen(
        "alpha", "red/web", "m-1", "p-1", "alpha", "Running", "Always", 4, deleting=True, gone=True
    )
