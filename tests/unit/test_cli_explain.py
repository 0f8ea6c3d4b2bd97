"""`vk-provider explain`: what a pod waits for, and its history, from objects of both clusters."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.pods import Manifest, as_node, decoded, pod
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, MemberClusterStatus, SecretRef
from vk_provider.cli.explain import text
from vk_provider.cli.explanation import Explanation, Seen, explained
from vk_provider.kube.objects import Condition, Metadata
from vk_provider.sync.pods.events import MemberEvent
from vk_provider.translate.fits import obstacle
from vk_provider.translate.pods.differences import Difference

READY = {"type": "Ready", "status": "True"}


def member(*conditions: Condition) -> MemberCluster:
    return MemberCluster(
        Metadata(name="west"),
        MemberClusterSpec(kubeconfig_secret_ref=SecretRef("member-west", "vk-provider-system")),
        MemberClusterStatus(conditions=list(conditions)),
    )


def explain(status: Manifest, spec: Manifest | None = None, **more: Any) -> Explanation:
    found = pod({"nodeName": "west", **(spec or {})}, status, creationTimestamp="2026-03-01T10:00:00Z")
    return explained(Seen(found, **more))


def event(name: str, reason: str, at: str, uid: str = "") -> MemberEvent:
    return decoded(
        {"metadata": {"name": name, "uid": uid}, "involvedObject": {}, "reason": reason, "lastTimestamp": at},
        MemberEvent,
    )


@pytest.mark.parametrize(
    ("status", "spec", "waits"),
    [
        ({"phase": "Running", "conditions": [READY]}, {}, []),
        ({"phase": "Succeeded"}, {}, []),
        ({"phase": "Pending"}, {"schedulingGates": [{"name": "quota"}]}, ["scheduling gates: quota"]),
        (
            {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1"}]},
            {},
            ["PodScheduled: Unschedulable: 0/1"],
        ),
        (
            {
                "containerStatuses": [
                    {"name": "app", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "x"}}}
                ]
            },
            {},
            ["container app: ImagePullBackOff: x"],
        ),
        (
            {"phase": "Running", "containerStatuses": [{"name": "app", "ready": False, "state": {"running": {}}}]},
            {"readinessGates": [{"conditionType": "lb"}]},
            ["readiness gate lb", "container app: it runs, and is not ready"],
        ),
    ],
)
def test_what_a_pod_waits_for(status: Manifest, spec: Manifest, waits: list[str]) -> None:
    assert explain(status, spec).waits_for == waits


def test_causes_in_the_member_come_before_those_of_containers() -> None:
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3"}
    waiting = {"name": "app", "state": {"waiting": {"reason": "MemberUnschedulable", "message": "0/3"}}}
    found = explain(
        {"phase": "Pending", "containerStatuses": [waiting]},
        member=member(Condition("Ready", "False", "Lost", "no answer")),
        member_pod=pod({}, {"conditions": [unscheduled]}),
    )
    assert found.waits_for == ["member west: Lost: no answer", "a node of member west: Unschedulable: 0/3"]


def test_a_member_that_could_not_be_asked_is_a_warning() -> None:
    found = explain({"phase": "Pending"}, member=member(), not_seen="no answer")
    assert (found.waits_for, found.warnings) == ([], ["the member could not be asked: no answer"])


def test_the_history_has_each_event_once_in_order_of_time() -> None:
    pulled = event("e", "Pulled", "2026-03-01T10:00:05Z", uid="u-1")
    forwarded = event(pulled.for_parent(pod().metadata, "west").name, "Pulled", "2026-03-01T10:00:05Z")
    found = explain(
        {"phase": "Running"},
        events=[event("s", "Scheduled", "2026-03-01T10:00:01Z"), forwarded],
        member=member(),
        member_pod=pod({"nodeName": "w-1"}, creationTimestamp="2026-03-01T10:00:02Z"),
        member_events=[pulled],
    )
    assert [(each.cluster, each.what) for each in found.history] == [
        ("parent", "Created"),
        ("parent", "Scheduled"),
        ("west", "Created"),
        ("west", "Pulled"),
    ]


def test_differences_that_no_user_notices_are_counted() -> None:
    seen = [Difference("spec.a", "dropped", "lost", missed=True), Difference("spec.b", "dropped", "fine")]
    lines = text(explain({"phase": "Running"}, member=member(), differences=seen))
    assert "  dropped    spec.a: lost" in lines
    assert "  1 other difference that the pod does not notice (-o json)" in lines


@pytest.mark.parametrize(
    ("spec", "conditions", "expected"),
    [
        ({}, [READY], ""),
        ({}, [], "it is not Ready"),
        ({"unschedulable": True}, [READY], "it is cordoned"),
        (
            {"taints": [{"key": "a", "effect": "NoSchedule"}]},
            [READY],
            "the pod does not tolerate its taint a:NoSchedule",
        ),
        ({"taints": [{"key": "a", "effect": "PreferNoSchedule"}]}, [READY], ""),
    ],
)
def test_why_a_node_may_not_take_a_pod(spec: Manifest, conditions: list[Manifest], expected: str) -> None:
    node = as_node({"metadata": {"name": "n"}, "spec": spec, "status": {"conditions": conditions}})
    assert obstacle(pod(), node) == expected
