"""One case for each row of the decision table."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.unit.pods import NAMES, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.translate.pods.decide import (
    Action,
    AwaitGone,
    Conflict,
    Create,
    Delete,
    Fail,
    Finish,
    Keep,
    Nothing,
    Orphan,
    Reflect,
    decide,
)

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CREATED = {"conditions": [{"type": wellknown.CREATED_CONDITION, "status": "True"}]}


def parent(policy: str = "Always", status: dict[str, Any] | None = None, **metadata: Any) -> Pod:
    return pod({"restartPolicy": policy}, status, **metadata)


def deleted_parent(seconds_left: int, grace: int, status: dict[str, Any] | None = None) -> Pod:
    at = datetime.fromtimestamp(NOW.timestamp() + seconds_left, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return parent(status=status, deletionTimestamp=at, deletionGracePeriodSeconds=grace)


def member(parent_uid: str = "p-1", **metadata: Any) -> Pod:
    return pod(uid="m-1", labels=NAMES.labels, annotations={wellknown.PARENT_UID: parent_uid}, **metadata)


def deleted_member(grace: int, parent_uid: str = "p-1") -> Pod:
    return member(parent_uid, deletionTimestamp="2026-03-01T12:00:30Z", deletionGracePeriodSeconds=grace)


FOREIGN = pod(uid="f-1", labels={"app": "web"})
OTHER_PARENTS = pod(
    uid="f-2",
    labels={wellknown.PARENT_LABEL: "another-parent", wellknown.NODE_LABEL: NAMES.node},
    annotations={wellknown.PARENT_UID: "p-1"},
)
OTHER_NODES = pod(
    uid="f-3",
    labels={wellknown.PARENT_LABEL: NAMES.parent, wellknown.NODE_LABEL: "member-b"},
    annotations={wellknown.PARENT_UID: "p-1"},
)
RUNNING = {"phase": "Running", **CREATED}
SHADOW = {wellknown.PLAN: "1a2b3c4d"}


@pytest.mark.parametrize(
    ("parents", "members", "action"),
    [
        pytest.param(parent(), None, Create(), id="active, never created: create"),
        pytest.param(parent("Never"), None, Create(), id="active, restartPolicy Never, never created: create"),
        pytest.param(parent(status=CREATED), None, Create(recreate=True), id="active, created before: create again"),
        pytest.param(
            parent("OnFailure", CREATED),
            None,
            Create(recreate=True),
            id="active, OnFailure, created before: create again",
        ),
        pytest.param(parent(status=RUNNING), member(), Reflect(), id="active, ours: reflect"),
        pytest.param(parent(), member(), Reflect(), id="active, ours, creation not recorded: adopt"),
        pytest.param(parent(), deleted_member(30), Reflect(), id="active, ours deleted by another client: reflect"),
        pytest.param(parent(), member("p-0"), Delete("m-1"), id="active, earlier incarnation: delete it"),
        pytest.param(
            parent(), deleted_member(30, "p-0"), Nothing(), id="active, earlier incarnation being deleted: wait"
        ),
        pytest.param(
            deleted_parent(30, 30), member(), Delete("m-1", 30), id="deleting, present: delete with the grace"
        ),
        pytest.param(deleted_parent(12, 30), member(), Delete("m-1", 12), id="deleting, late: the rest of the grace"),
        pytest.param(
            deleted_parent(-90, 30), member(), Delete("m-1", 1), id="deleting, overdue: one second, never zero"
        ),
        pytest.param(deleted_parent(0, 0), member(), Delete("m-1", 1), id="deleting, grace 0: one second, never zero"),
        pytest.param(
            deleted_parent(30, 30), deleted_member(30), AwaitGone(), id="deleting, member deleting: await its end"
        ),
        pytest.param(
            deleted_parent(5, 5), deleted_member(30), Delete("m-1", 5), id="deleting, shortened: shorten the member's"
        ),
        pytest.param(
            deleted_parent(0, 0), deleted_member(30), Delete("m-1", 1), id="deleting, shortened to 0: one second"
        ),
        pytest.param(deleted_parent(0, 0), deleted_member(1), AwaitGone(), id="deleting, shortened already: await"),
        pytest.param(
            deleted_parent(600, 600), deleted_member(30), AwaitGone(), id="deleting, longer than the member's: await"
        ),
        pytest.param(deleted_parent(30, 30), None, Finish(), id="deleting, absent: finish"),
        pytest.param(deleted_parent(30, 30, RUNNING), None, Finish(), id="deleting, gone: finish"),
        pytest.param(deleted_parent(30, 30), FOREIGN, Finish(), id="deleting, name taken: finish"),
        pytest.param(deleted_parent(30, 30), member("p-0"), Finish(), id="deleting, earlier incarnation: finish"),
        pytest.param(parent(status={"phase": "Failed"}), member(), Delete("m-1"), id="failed, living: delete"),
        pytest.param(parent(status={"phase": "Succeeded"}), member(), Delete("m-1"), id="succeeded, living: delete"),
        pytest.param(
            parent(status={"phase": "Failed"}), deleted_member(30), Keep(), id="failed, living, being deleted: wait"
        ),
        pytest.param(
            parent(status={"phase": "Failed"}), member("p-0"), Keep(), id="failed, of another parent pod: keep"
        ),
        pytest.param(
            parent(status={"phase": "Succeeded"}),
            member(status={"phase": "Succeeded"}),
            Keep(reflect=True),
            id="succeeded on both sides: keep, and reflect the rest",
        ),
        pytest.param(
            parent(status={"phase": "Failed"}),
            member(status={"phase": "Running"}),
            Delete("m-1"),
            id="failed, runs: delete",
        ),
        pytest.param(
            parent(status={"phase": "Failed"}),
            member(status={"phase": "Succeeded"}),
            Keep(),
            id="ended otherwise: keep",
        ),
        pytest.param(parent(status={"phase": "Succeeded"}), None, Keep(), id="succeeded, absent: keep"),
        pytest.param(parent(status={"phase": "Failed"}), FOREIGN, Keep(), id="failed, name taken: keep"),
        pytest.param(
            deleted_parent(30, 30, {"phase": "Succeeded"}), member(), Delete("m-1", 30), id="succeeded, deleted: delete"
        ),
        pytest.param(parent(labels=SHADOW), None, Nothing(), id="shadow of a plan: nothing"),
        pytest.param(parent(labels=SHADOW), member(), Reflect(), id="labelled as a shadow while running: reflect"),
        pytest.param(
            pod(labels=SHADOW, deletionTimestamp="2026-03-01T12:00:30Z"), None, Finish(), id="shadow, deleted: finish"
        ),
        pytest.param(None, member(), Orphan(), id="absent, ours: orphan"),
        pytest.param(None, deleted_member(30), Nothing(), id="absent, ours being deleted: nothing"),
        pytest.param(None, FOREIGN, Nothing(), id="absent, of another client: nothing"),
        pytest.param(None, OTHER_PARENTS, Nothing(), id="absent, of another parent cluster: nothing"),
        pytest.param(None, OTHER_NODES, Nothing(), id="absent, of another virtual node: nothing"),
        pytest.param(None, None, Nothing(), id="neither: nothing"),
    ],
)
def test_the_action_for_each_pair_of_pods(parents: Pod | None, members: Pod | None, action: Action) -> None:
    assert decide(parents, members, NAMES, now=NOW) == action


def test_a_lost_pod_that_must_not_restart_fails() -> None:
    action = decide(parent("Never", CREATED), None, NAMES, now=NOW)
    assert isinstance(action, Fail) and action.reason == wellknown.MEMBER_POD_LOST


def test_a_member_pod_that_was_just_created_counts_as_created() -> None:
    assert isinstance(decide(parent("Never"), None, NAMES, now=NOW, created_uid="p-1"), Fail)
    assert decide(parent(), None, NAMES, now=NOW, created_uid="p-1") == Create(recreate=True)


def test_a_member_pod_of_an_earlier_incarnation_does_not_count() -> None:
    assert decide(parent("Never"), None, NAMES, now=NOW, created_uid="p-0") == Create()


@pytest.mark.parametrize("taken", [FOREIGN, OTHER_PARENTS, OTHER_NODES], ids=["user", "parent", "node"])
def test_a_name_taken_by_another_client_is_a_conflict(taken: Pod) -> None:
    assert isinstance(decide(parent(), taken, NAMES, now=NOW), Conflict)


def test_the_message_of_a_conflict_names_the_pod_that_has_the_name() -> None:
    action = decide(parent(), FOREIGN, NAMES, now=NOW)
    assert isinstance(action, Conflict) and "shop/web-1" in action.message


def test_a_mirror_pod_is_rejected() -> None:
    action = decide(parent(annotations={"kubernetes.io/config.mirror": "x"}), None, NAMES, now=NOW)
    assert isinstance(action, Fail) and action.reason == wellknown.NOT_SUPPORTED


def test_resource_claims_are_rejected() -> None:
    action = decide(pod({"resourceClaims": [{"name": "gpu"}]}), None, NAMES, now=NOW)
    assert isinstance(action, Fail) and action.reason == wellknown.NOT_SUPPORTED


def test_a_rejected_pod_can_still_be_deleted() -> None:
    rejected = pod({"resourceClaims": [{"name": "gpu"}]}, deletionTimestamp="2026-03-01T12:00:30Z")
    assert decide(rejected, None, NAMES, now=NOW) == Finish()


def test_a_deletion_without_a_grace_period_gets_the_default_of_kubernetes() -> None:
    deleting = pod(deletionTimestamp="2026-03-01T12:10:00Z")
    assert decide(deleting, member(), NAMES, now=NOW) == Delete("m-1", 30)
