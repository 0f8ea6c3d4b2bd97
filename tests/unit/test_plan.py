"""Plans of a failover: shadows, and the verdicts on pods before and after the scheduler's decision."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.pods import as_pod, decoded, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import encode
from vk_provider.translate.nodes.plan import (
    Outcome,
    Plan,
    Planned,
    Verdict,
    answer,
    eviction_seconds,
    final_verdict,
    is_affected,
    reservations,
    shadow,
    verdict_without_scheduler,
)

PLAN = Plan("1a2b3c4d", "alpha", "class-uid")
NOT_READY = "node.kubernetes.io/not-ready"
ELSEWHERE = {"key": "metadata.name", "operator": "NotIn", "values": ["alpha"]}
SSD = {"key": "disk", "operator": "In", "values": ["ssd"]}


def planned(
    spec: dict[str, Any] | None = None, *, controller: str = "ReplicaSet", phase: str = "Running", **metadata: Any
) -> Planned:
    owners = [{"kind": controller, "name": "web", "controller": True}] if controller else []
    manifest = {
        "metadata": {"name": "web-1", "namespace": "shop", "uid": "p-1", "ownerReferences": owners, **metadata},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "tolerations": [toleration(300)], **(spec or {})},
        "status": {"phase": phase},
    }
    return decoded(manifest, Planned)


def toleration(seconds: int | None = None, **more: Any) -> dict[str, Any]:
    found = {"key": NOT_READY, "operator": "Exists", "effect": "NoExecute", **more}
    return found if seconds is None else found | {"tolerationSeconds": seconds}


def shadow_spec(spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    made: dict[str, Any] = shadow(planned(spec, **metadata), "plan-1", PLAN)["spec"]
    return made


@pytest.mark.parametrize(
    "pod",
    [
        planned(phase="Succeeded"),
        planned(phase="Failed"),
        planned(deletionTimestamp="2026-03-01T12:00:00Z"),
        planned(controller="DaemonSet"),
        planned(labels={wellknown.PLAN: "another"}),
    ],
)
def test_pods_that_would_not_move_are_not_affected(pod: Planned) -> None:
    assert not is_affected(pod)


@pytest.mark.parametrize("controller", ["ReplicaSet", "StatefulSet", "Job", ""])
def test_all_other_pods_are_affected(controller: str) -> None:
    assert is_affected(planned(controller=controller))


@pytest.mark.parametrize(
    ("pod", "outcome"),
    [
        (planned(annotations={wellknown.ON_LOST: "Hold"}), Outcome.STAYS),
        (planned({"tolerations": [toleration()]}), Outcome.STAYS),
        (planned(controller=""), Outcome.ENDS),
        (planned(controller="", annotations={wellknown.ON_LOST: "Hold"}), Outcome.STAYS),
        (planned(annotations={wellknown.ON_LOST: "Reschedule"}), None),
        (planned(controller="StatefulSet"), None),
    ],
)
def test_some_verdicts_need_no_scheduler(pod: Planned, outcome: Outcome | None) -> None:
    verdict = verdict_without_scheduler(pod)
    assert (verdict.outcome if verdict else None) == outcome


@pytest.mark.parametrize(
    ("tolerations", "seconds"),
    [
        ([], 0),
        ([toleration(30)], 30),
        ([toleration(-5)], 0),
        ([toleration()], None),
        ([toleration(key="node.kubernetes.io/unreachable")], 0),
        ([toleration(effect="NoSchedule")], 0),
        ([toleration(7, effect="")], 7),
        ([{"operator": "Exists"}], None),
        ([{"key": NOT_READY}], None),
        ([{"key": NOT_READY, "operator": "Equal", "value": "other"}], 0),
        ([toleration(30), {"operator": "Exists"}], 30),
    ],
)
def test_the_first_matching_toleration_decides_when_the_pod_is_evicted(
    tolerations: list[dict[str, Any]], seconds: int | None
) -> None:
    assert eviction_seconds(planned({"tolerations": tolerations})) == seconds


class TestAShadow:
    def test_belongs_to_the_plan_and_to_no_replica_set(self) -> None:
        metadata = shadow(planned(labels={"app": "web"}, finalizers=["theirs"]), "plan-1", PLAN)["metadata"]
        assert metadata["labels"] == {"app": "web", wellknown.PLAN: "1a2b3c4d"}
        assert "finalizers" not in metadata
        (owner,) = metadata["ownerReferences"]
        assert (owner["kind"], owner["uid"], owner["controller"]) == ("PriorityClass", "class-uid", True)

    def test_cannot_run(self) -> None:
        containers = [{"name": "app", "image": "app:1", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}]
        spec = shadow_spec({"initContainers": [{"name": "first", "image": "init:1"}], "containers": containers})
        for container in [*spec["initContainers"], *spec["containers"]]:
            assert container["image"].startswith("vk-provider.invalid/")
            assert [mount["name"] for mount in container["volumeMounts"]] == [PLAN.name]
        assert spec["volumes"] == [{"name": PLAN.name, "configMap": {"name": PLAN.name}}]

    def test_reads_no_secret(self) -> None:
        container = {
            "name": "app",
            "image": "app:1",
            "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
            "envFrom": [{"secretRef": {"name": "s"}}],
        }
        volumes = [{"name": "s", "secret": {"secretName": "s"}}, {"name": "p", "projected": {"sources": []}}]
        spec = shadow_spec({"containers": [container], "volumes": volumes, "imagePullSecrets": [{"name": "s"}]})
        assert "secret" not in encode(spec).decode().lower()
        assert spec["automountServiceAccountToken"] is False

    def test_has_the_claims_that_restrict_scheduling(self) -> None:
        claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        assert claim in shadow_spec({"volumes": [claim, {"name": "tmp", "emptyDir": {}}]})["volumes"]

    def test_has_the_same_requests_and_constraints(self) -> None:
        container = {
            "name": "app",
            "image": "app:1",
            "resources": {"requests": {"cpu": "2"}},
            "ports": [{"containerPort": 80, "hostPort": 80}],
            "newField": True,
        }
        spec = {"containers": [container], "nodeSelector": {"disk": "ssd"}, "schedulerName": "theirs", "newField": {}}
        made = shadow_spec(spec)
        for key in ("resources", "ports", "newField"):
            assert made["containers"][0][key] == container[key]
        for key in ("nodeSelector", "schedulerName", "newField"):
            assert made[key] == spec[key]

    def test_has_the_lowest_priority_and_no_grace_period(self) -> None:
        made = shadow_spec({"priority": 7, "priorityClassName": "high", "preemptionPolicy": "PreemptLowerPriority"})
        assert made["priorityClassName"] == PLAN.name
        assert not {"priority", "preemptionPolicy", "nodeName"} & made.keys()
        assert made["terminationGracePeriodSeconds"] == 0

    @pytest.mark.parametrize(
        ("terms", "expected"),
        [
            (None, [{"matchFields": [ELSEWHERE]}]),
            ([{"matchExpressions": [SSD]}], [{"matchExpressions": [SSD], "matchFields": [ELSEWHERE]}]),
            ([{"matchExpressions": [SSD]}, {}], [{"matchExpressions": [SSD], "matchFields": [ELSEWHERE]}, {}]),
        ],
    )
    def test_excludes_the_lost_node_in_every_term(self, terms: list[Any] | None, expected: list[Any]) -> None:
        required = "requiredDuringSchedulingIgnoredDuringExecution"
        affinity = {"podAffinity": {"x": 1}} | (
            {} if terms is None else {"nodeAffinity": {required: {"nodeSelectorTerms": terms}}}
        )
        made = shadow_spec({"affinity": affinity})["affinity"]
        assert made["nodeAffinity"][required]["nodeSelectorTerms"] == expected
        assert made["podAffinity"] == {"x": 1}


def unscheduled(reason: str, message: str = "") -> dict[str, Any]:
    return {"conditions": [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]}


@pytest.mark.parametrize(
    ("spec", "status", "verdict"),
    [
        ({}, {}, None),
        ({"nodeName": "beta"}, {}, Verdict(Outcome.MOVES, "beta")),
        ({"nodeName": "beta"}, unscheduled("Unschedulable"), Verdict(Outcome.MOVES, "beta")),
        ({}, unscheduled("SchedulerError", "busy"), None),
        (
            {},
            unscheduled("Unschedulable", "0/2 nodes are available: 2 Insufficient cpu. preemption: not eligible."),
            Verdict(Outcome.CANNOT, message="0/2 nodes are available: 2 Insufficient cpu"),
        ),
    ],
)
def test_the_verdict_follows_from_the_schedulers_decision(
    spec: dict[str, Any], status: dict[str, Any], verdict: Verdict | None
) -> None:
    assert answer(pod(spec, status)) == verdict


def test_the_verdict_on_a_gated_shadow_is_unknown() -> None:
    verdict = answer(pod({}, unscheduled("SchedulingGated")))
    assert verdict and verdict.outcome is Outcome.UNKNOWN


@pytest.mark.parametrize(
    ("controller", "before", "after"),
    [
        ("ReplicaSet", Outcome.MOVES, Outcome.MOVES),
        ("StatefulSet", Outcome.MOVES, Outcome.WAITS),
        ("StatefulSet", Outcome.CANNOT, Outcome.CANNOT),
    ],
)
def test_only_a_pod_that_keeps_its_name_waits_for_a_fence(controller: str, before: Outcome, after: Outcome) -> None:
    verdict = final_verdict(planned(controller=controller), Verdict(before, "beta"))
    assert (verdict.outcome, verdict.node) == (after, "beta")


@pytest.mark.parametrize(
    ("constraint", "reserved"),
    [
        ({"whenUnsatisfiable": "DoNotSchedule"}, True),
        ({"whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Ignore"}, True),
        ({"whenUnsatisfiable": "DoNotSchedule", "nodeTaintsPolicy": "Honor"}, False),
        ({"whenUnsatisfiable": "ScheduleAnyway"}, False),
    ],
)
def test_a_required_spread_that_counts_the_lost_domain_is_a_reservation(
    constraint: dict[str, Any], reserved: bool
) -> None:
    created = as_pod({"metadata": {}, "spec": {"topologySpreadConstraints": [{"topologyKey": "zone", **constraint}]}})
    assert bool(reservations(planned(), created, Verdict(Outcome.MOVES, "beta"))) is reserved


@pytest.mark.parametrize(("message", "reserved"), [("exceeded quota: few", True), ("denied by a policy", False)])
def test_an_exceeded_quota_is_a_reservation(message: str, reserved: bool) -> None:
    assert bool(reservations(planned(), None, Verdict(Outcome.REFUSED, message=message))) is reserved


@pytest.mark.parametrize(
    ("spec", "reserved"),
    [
        ({}, False),
        ({"priority": 7}, True),
        ({"priority": 7, "preemptionPolicy": "Never"}, False),
    ],
)
def test_possible_preemption_is_a_reservation(spec: dict[str, Any], reserved: bool) -> None:
    assert bool(reservations(planned(spec), None, Verdict(Outcome.CANNOT))) is reserved
