"""The long randomized run: rules about Nodes, refusals and names, and the table of faults."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chaos import faults, hands, users
from tests.chaos.history import PARENT, POD_GC, Container, Disturbance, History, NodeSeen, Seen, node_seen, seen
from tests.chaos.in_sync import problems_of_node
from tests.chaos.invariants import ALWAYS, REFUSALS, WHEN_IN_SYNC, violations
from tests.chaos.plan import OPENING, PLACES, RECONNECTS, plan
from tests.link import SLOW
from vk_provider.api import wellknown

POD = Seen(PARENT, "red/db-0", "p-1", "", "alpha", "Running", "Always", 0)
BOX = Container("alpha", "m-1", "p-1", "Always", started=1.0, key="red/db-0")
SECOND = replace(BOX, cluster="beta", pod_uid="m-2", parent_uid="p-2", started=5.0)
READY = NodeSeen("alpha", "True", "MemberReady", "vk-provider://alpha", at=10.0)
LOST = replace(READY, ready="False", reason="MemberUnreachable", at=40.0)
TAKEN = replace(POD, disruption=POD_GC, deleting=True, phase="Failed", at=50.0)


def rules(history: History) -> set[str]:
    return {found.partition(":")[0] for found in violations(history, WHEN_IN_SYNC)}


@pytest.mark.parametrize("ended", [None, 6.0])
def test_two_pods_of_one_name_that_run_at_the_same_time_are_a_violation(ended: float | None) -> None:
    history = History([POD], [replace(BOX, ended=ended), replace(SECOND, ended=8.0)])
    assert "pods_of_one_name_never_overlap" in rules(history)


def test_a_pod_may_follow_another_one_of_its_name() -> None:
    assert violations(History([POD], [replace(BOX, ended=4.0), SECOND]), ALWAYS) == []


def test_a_pod_that_overlaps_with_an_earlier_but_longer_one_is_a_violation() -> None:
    short = replace(BOX, pod_uid="m-3", parent_uid="p-1", started=2.0, ended=3.0)
    history = History([POD], [replace(BOX, ended=9.0), short, SECOND])
    assert "pods_of_one_name_never_overlap" in rules(history)


def test_a_pod_may_overlap_with_one_that_was_removed_by_force() -> None:
    boxes = [replace(BOX, ended=9.0), replace(SECOND, ended=8.0)]
    for forced in ("p-1", "m-1"):
        assert violations(History([POD], list(boxes), forced={forced}), ALWAYS) == []
    assert "pods_of_one_name_never_overlap" in rules(History([POD], list(boxes), forced={"p-2"}))


def nodes_that_are_missing(provider_id: str) -> list[NodeSeen]:
    """The Node was deleted at 12 s, and is back at 52 s."""
    node = replace(READY, provider_id=provider_id)
    return [node, replace(node, gone=True, at=12.0), replace(node, at=52.0)]


def test_only_pods_of_nodes_with_a_provider_id_must_not_be_lost_with_their_node() -> None:
    boxes = [replace(BOX, ended=60.0), replace(SECOND, started=55.0, ended=58.0)]
    pods = [POD, TAKEN, replace(TAKEN, gone=True, at=51.0)]
    killed = [Disturbance("provider", "killed", 11.0, 52.0)]
    strict = History(pods, list(boxes), nodes=nodes_that_are_missing("x"), disturbances=killed)
    assert rules(strict) == {
        "pods_of_one_name_never_overlap",
        "pods_are_removed_after_their_containers_end",
        "nodes_with_a_provider_id_lose_no_pod",
    }
    exempt = History(pods, list(boxes), nodes=nodes_that_are_missing(""), disturbances=killed)
    assert rules(exempt) == set()
    assert set(exempt.taken) == {"p-1"}


def test_a_pod_whose_member_pod_was_lost_with_its_node_is_not_lost_with_the_virtual_node() -> None:
    mirrored = replace(POD, disruption=POD_GC, at=50.0)
    assert violations(History([POD, mirrored], nodes=[READY]), WHEN_IN_SYNC) == []
    earlier = [*nodes_that_are_missing("x")[:2], replace(READY, at=14.0)]
    assert violations(History([POD, mirrored], nodes=earlier), WHEN_IN_SYNC) == []


@pytest.mark.parametrize("fault", sorted(REFUSALS))
def test_a_refused_member_that_is_declared_lost_is_a_violation(fault: str) -> None:
    place = "alpha account" if fault in ("token expired", "no rights") else "alpha"
    history = History(nodes=[READY, LOST], disturbances=[Disturbance(place, fault, 30.0)])
    assert rules(history) == {"refused_members_stay_ready"}


@pytest.mark.parametrize(
    "others",
    [
        [Disturbance("alpha", "cut", 30.0)],
        [Disturbance("alpha account", "no rights", 20.0), Disturbance("alpha", "cut", 30.0, 39.0)],
        [Disturbance("alpha account", "no rights", 5.0, 20.0)],
        [Disturbance("beta account", "no rights", 30.0)],
    ],
)
def test_a_member_may_be_declared_lost_for_another_reason(others: list[Disturbance]) -> None:
    assert rules(History(nodes=[READY, LOST], disturbances=others)) == set()


def test_a_refused_member_may_return_and_stay_lost() -> None:
    refused = [Disturbance("alpha account", "no rights", 35.0)]
    returning = replace(LOST, reason="MemberReturning", at=42.0)
    assert rules(History(nodes=[READY, returning], disturbances=refused)) == set()
    assert rules(History(nodes=[LOST, replace(LOST, at=45.0)], disturbances=refused)) == set()


@pytest.mark.parametrize(("back", "until"), [(80.0, 100.0), (None, 100.0)])
def test_a_deleted_node_that_is_missing_without_a_fault_is_a_violation(back: float | None, until: float) -> None:
    nodes = [READY, replace(READY, gone=True, at=50.0)]
    nodes += [replace(READY, at=back)] if back else []
    assert rules(History(nodes=nodes, until=until)) == {"deleted_nodes_are_back"}
    faults = [Disturbance(PARENT, "stopped", 45.0, 60.0), Disturbance("provider", "killed", 61.0, 81.0)]
    assert rules(History(nodes=nodes, disturbances=faults, until=95.0)) == set()
    elsewhere = [Disturbance("alpha", "cut", 45.0)]
    assert rules(History(nodes=nodes, disturbances=elsewhere, until=until)) == {"deleted_nodes_are_back"}


def test_a_deleted_node_that_is_back_at_once_is_no_violation() -> None:
    nodes = [READY, replace(READY, gone=True, at=50.0), replace(LOST, at=52.0)]
    assert rules(History(nodes=nodes, until=500.0)) == set()


def test_a_member_pod_that_a_controller_of_the_member_disrupts_is_not_removed_by_the_provider() -> None:
    member = Seen("alpha", "red/web", "m-1", "p-1", "alpha-1", "Running", "Always", 0)
    history = History([POD])
    for each in (member, replace(member, disruption="DeletionByTaintManager"), replace(member, gone=True)):
        history.add(each)
    assert violations(history, WHEN_IN_SYNC) == []


def test_a_disruption_is_read_from_a_pod_and_the_readiness_from_a_node() -> None:
    condition = {"type": "DisruptionTarget", "status": "True", "reason": POD_GC}
    metadata = {"namespace": "red", "name": "web", "uid": "p-1"}
    pod = {"metadata": metadata, "spec": {}, "status": {"conditions": [condition]}}
    assert seen(PARENT, pod).disruption == POD_GC
    assert seen(PARENT, pod | {"status": {"conditions": [condition | {"status": "False"}]}}).disruption == ""
    ready = {"type": "Ready", "status": "False", "reason": "MemberUnreachable"}
    node = {"metadata": {"name": "alpha"}, "spec": {"providerID": "x"}, "status": {"conditions": [ready]}}
    assert node_seen(node, at=1.0) == NodeSeen("alpha", "False", "MemberUnreachable", "x", at=1.0)


def test_a_node_that_is_in_order_has_no_problem_and_each_problem_is_reported() -> None:
    node = {
        "metadata": {"name": "alpha", "labels": {wellknown.CLUSTER_LABEL: "alpha"}},
        "spec": {"providerID": "x"},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert list(problems_of_node(node, "x")) == []
    broken = {
        "metadata": {"name": "alpha"},
        "spec": {"taints": [{"key": wellknown.SUSPECT_TAINT, "effect": "NoSchedule"}]},
    }
    assert len(list(problems_of_node(broken, "x"))) == 4


def test_every_fault_of_every_place_is_in_the_plan_of_an_hour_and_can_be_performed() -> None:
    steps = plan(7, 3600)
    begun = {(step.about, step.args["fault"]) for step in steps if step.what == "begin"}
    assert begun == {(name, fault) for name, place in PLACES.items() for fault, _ in place.faults}
    assert {fault for _, fault in begun} == set(faults.TABLE)
    others = {step.what for step in steps} - {"begin", "end", "kill", "start"}
    assert others == {*users.STEPS, *hands.STEPS}


@pytest.mark.parametrize("place", PLACES)
def test_the_faults_of_a_place_do_not_overlap(place: str) -> None:
    found = [step.what for step in plan(3, 3600) if step.about == place and step.what in ("begin", "end")]
    assert found == (["begin", "end"] * len(found))[: len(found)]


def test_a_member_that_reconnects_ends_with_its_link() -> None:
    for member in ("alpha", "beta"):
        servers = [step.args["server"] for step in plan(3, 3600) if (step.what, step.about) == ("reconnect", member)]
        assert servers[: 2 * RECONNECTS] == ["direct", "link"] * RECONNECTS


def test_a_fault_that_begins_in_the_opening_ends_there() -> None:
    opening = [step for step in plan(3, OPENING) if step.what in ("begin", "end")]
    for place in {step.about for step in opening}:
        found = [step.what for step in opening if step.about == place]
        assert found == ["begin", "end"] * (len(found) // 2)


def test_a_slower_pace_gives_fewer_actions_and_the_same_faults() -> None:
    usual, slow = plan(5, 600), plan(5, 600, pace=4)
    assert [step for step in slow if step.what == "begin"] == [step for step in usual if step.what == "begin"]
    assert len(slow) < len(usual) / 2


def test_refusals_are_not_among_the_faults_that_only_slow_a_link() -> None:
    assert set(faults.TABLE) >= REFUSALS
    assert not REFUSALS & set(SLOW)


@pytest.mark.parametrize(("place", "member"), [("alpha", "alpha"), ("alpha-2", "alpha"), ("beta account", "beta")])
def test_a_place_belongs_to_a_cluster(place: str, member: str) -> None:
    assert faults.member_of(place) == member
