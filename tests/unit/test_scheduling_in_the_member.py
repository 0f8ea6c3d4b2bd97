"""What the member's scheduler gets to know: the platform, zones if it has several, a priority, the deadline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from tests.unit.merge import apply_status
from tests.unit.pods import NAMES, TARGET, Manifest, as_node, pod
from tests.unit.test_way_of_a_pod import SCHEDULED, SPEC, Server, served
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Metadata, ObjectsByKey, fields
from vk_provider.observable import Observable
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.sync.pods.member_pods import MemberPods
from vk_provider.translate.nodes.member_nodes import MemberNode, member_node
from vk_provider.translate.pods.constraints import Scheduling
from vk_provider.translate.pods.container_statuses import deadline_left
from vk_provider.translate.pods.pod import member_pod
from vk_provider.translate.pods.status import reflected, status_patch, waiting

OS, ARCH, ZONE = "kubernetes.io/os", "kubernetes.io/arch", "topology.kubernetes.io/zone"
NOW: Final = datetime(2026, 3, 1, 12, tzinfo=UTC)


def translated(spec: Manifest, **scheduling: Any) -> Manifest:
    found: Manifest = member_pod(pod(spec), replace(TARGET, scheduling=Scheduling(**scheduling)))["spec"]
    return found


def required(*terms: list[Manifest]) -> Manifest:
    selectors = [{"matchExpressions": expressions} for expressions in terms]
    return {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": selectors},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": selectors[0]}],
        }
    }


def is_in(key: str, *values: str) -> Manifest:
    return {"key": key, "operator": "In", "values": list(values)}


def test_the_selected_platform_holds_in_the_member() -> None:
    selector = {OS: "windows", ARCH: "arm64", "disk": "ssd", "type": "virtual-kubelet"}
    assert translated({"nodeSelector": selector})["nodeSelector"] == {OS: "windows", ARCH: "arm64"}


def test_a_selector_without_a_platform_is_dropped() -> None:
    assert "nodeSelector" not in translated({"nodeSelector": {"disk": "ssd"}})


def test_a_platform_that_does_not_hold_in_the_member_is_dropped() -> None:
    spec = {"nodeSelector": {OS: "linux", ARCH: "arm64"}, "affinity": required([is_in(ARCH, "arm64")])}
    found = translated(spec, platform={OS})
    assert found["nodeSelector"] == {OS: "linux"}
    assert "affinity" not in found


def test_the_required_platform_of_every_term_holds_in_the_member() -> None:
    terms = [is_in(ARCH, "amd64"), is_in("disk", "ssd")], [is_in(ARCH, "arm64")]
    found = translated({"affinity": required(*terms)})["affinity"]
    selectors = [{"matchExpressions": [is_in(ARCH, "amd64")]}, {"matchExpressions": [is_in(ARCH, "arm64")]}]
    assert found == {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": selectors}}
    }


def test_a_term_that_allows_every_platform_leaves_the_choice() -> None:
    assert "affinity" not in translated({"affinity": required([is_in(ARCH, "amd64")], [is_in("disk", "ssd")])})


def spread(key: str) -> Manifest:
    return {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {}}


@pytest.mark.parametrize("zones", [True, False])
def test_a_spread_over_zones_is_a_preference_where_the_member_has_several(zones: bool) -> None:
    found = translated({"topologySpreadConstraints": [spread(ZONE), spread("rack")]}, zones=zones)
    wanted = [spread(ZONE) | {"whenUnsatisfiable": "ScheduleAnyway"}] if zones else None
    assert found.get("topologySpreadConstraints") == wanted


def test_member_pods_have_the_priority_class_of_the_member() -> None:
    spec = {"priorityClassName": "of-the-parent", "priority": 7}
    assert "priorityClassName" not in translated(spec)
    found = translated(spec, priority_class="guests")
    assert found["priorityClassName"] == "guests"
    assert "priority" not in found


class Nodes(Informer[MemberNode]):
    """Nodes of a member with these labels."""

    def __init__(self, labels: Iterable[dict[str, str]]) -> None:
        found = [as_node({"metadata": {"name": str(index), "labels": each}}) for index, each in enumerate(labels)]
        self._items = ObjectsByKey()
        for node in found:
            self._items[node.metadata.name] = member_node(node)


def scheduling(spec: Manifest, *nodes: dict[str, str], **declared: Any) -> Scheduling:
    """What a new member pod is translated with."""
    cluster = Observable(MemberCluster(Metadata(name="alpha"), MemberClusterSpec(SecretRef("s", "n"), **declared)))
    unused: Any = None
    pods = PodCaches(NAMES, unused, unused)
    member_pods = MemberPods(TARGET, unused, pods, unused, unused, unused, unused, cluster=cluster, nodes=Nodes(nodes))
    return member_pods._target_of(pod(spec)).scheduling


@pytest.mark.parametrize(
    ("nodes", "declared", "platform"),
    [
        pytest.param([{OS: "linux", ARCH: "arm64"}], {}, {OS, ARCH}, id="nodes have both labels"),
        pytest.param([{OS: "linux"}], {}, {OS}, id="no node has the label"),
        pytest.param([], {}, {OS, ARCH}, id="no nodes yet: an autoscaler needs it"),
        pytest.param([{OS: "linux", ARCH: "arm64"}], {"labels": {ARCH: "amd64"}}, {OS}, id="overridden in spec.labels"),
    ],
)
def test_the_platform_holds_where_it_means_the_same(
    nodes: list[dict[str, str]], declared: Manifest, platform: set[str]
) -> None:
    assert scheduling({"nodeSelector": {OS: "linux"}}, *nodes, **declared).platform == platform


@pytest.mark.parametrize(("zones", "several"), [(["a", "b"], True), (["a", "a"], False), ([], False)])
def test_a_member_has_zones_if_its_nodes_differ(zones: list[str], several: bool) -> None:
    nodes = [{ZONE: zone} for zone in zones]
    assert scheduling({"topologySpreadConstraints": [spread(ZONE)]}, *nodes).zones == several


async def test_a_changed_priority_class_is_used_for_new_member_pods() -> None:
    assert scheduling({}, priority_class_name="guests").priority_class == "guests"


@pytest.mark.parametrize(
    ("spec", "status", "left"),
    [
        ({"activeDeadlineSeconds": 600}, {"startTime": "2026-03-01T11:55:00Z"}, 300),
        ({"activeDeadlineSeconds": 600}, {"startTime": "2026-03-01T11:00:00Z"}, 1),
        ({"activeDeadlineSeconds": 600}, {}, None),
        ({}, {"startTime": "2026-03-01T11:00:00Z"}, None),
    ],
)
def test_the_deadline_counts_from_the_first_start(spec: Manifest, status: Manifest, left: int | None) -> None:
    assert deadline_left(pod(spec, status), NOW) == left


def test_the_first_start_stays_when_the_member_pod_is_created_again() -> None:
    first = {"phase": "Running", "startTime": "2026-03-01T10:00:00Z"}
    parent = pod(status=first)
    again = pod(status=first | {"startTime": "2026-03-01T11:00:00Z"}, uid="m-2", labels=NAMES.labels)
    for wanted in (reflected(parent, again, now="2026-03-01T12:00:00Z"), waiting(parent, "CrashLoopBackOff")):
        after = fields(apply_status(parent, status_patch(parent, wanted)).status)
        assert after["startTime"] == "2026-03-01T10:00:00Z"


@asynccontextmanager
async def lost(above: Server, below: Server, spec: Manifest) -> AsyncIterator[None]:
    """A pod that has started 5 min ago, and whose member pod no longer exists."""
    with pytest.raises(ExceptionGroup):
        async with served(above, below):
            metadata = {"name": "web", "namespace": "shop", "uid": "p-web", "resourceVersion": "5"}
            created = {"type": wellknown.CREATED_CONDITION, "status": "True"}
            status = {"phase": "Running", "startTime": "2026-03-01T09:55:00Z", "conditions": [SCHEDULED, created]}
            above.feed("ADDED", metadata, spec=spec, status=status)
            yield


async def test_a_member_pod_that_is_created_again_has_what_is_left_of_the_deadline() -> None:
    above, below = Server(), Server()
    async with lost(above, below, SPEC | {"activeDeadlineSeconds": 600}):
        await eventually_here(lambda: below.written, "the member pod is created again")
    assert below.written[0][2]["spec"]["activeDeadlineSeconds"] == 300
