"""Pods for which the member has no place: which are evicted, when, and what the others wait for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pytest

from tests.unit.pods import Manifest, as_node, pod
from tests.unit.test_way_of_a_pod import SCHEDULED, SPEC, Server, served
from tests.waiting import eventually_here
from vk_provider.api import wellknown
from vk_provider.errors import api_error
from vk_provider.kube.objects import Metadata, Node, OwnerReference
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import Resource
from vk_provider.translate.pods.unschedulable import (
    Job,
    Rounds,
    fits_elsewhere,
    names_claim,
    not_replaced,
    unschedulable_since,
)

READY: Final = {"type": "Ready", "status": "True"}
OLD: Final = "2026-03-01T09:00:00Z"  # an hour before the time of the simulated servers
NO_PLACE: Final = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available",
    "lastTransitionTime": OLD,
}


def owner(kind: str) -> OwnerReference:
    return OwnerReference(kind, "web", controller=True)


def job(policy: str | None) -> Job:
    return Job(Metadata(name="web"), {} if policy is None else {"podReplacementPolicy": policy})


@pytest.mark.parametrize(
    ("controller", "jobs", "replaced"),
    [
        (owner("ReplicaSet"), None, True),
        (owner("ReplicationController"), None, True),
        (owner("StatefulSet"), None, True),
        (owner("DaemonSet"), None, False),
        (owner("Workflow"), None, False),
        (owner("Job"), job("Failed"), True),
        (owner("Job"), job("TerminatingOrFailed"), False),
        (owner("Job"), job(None), False),
        (owner("Job"), None, False),
        (None, None, False),
    ],
)
def test_only_some_controllers_replace_a_pod_on_another_node(
    controller: OwnerReference | None, jobs: Job | None, replaced: bool
) -> None:
    assert (not_replaced(controller, jobs) == "") == replaced


def test_the_time_without_a_place_begins_with_the_answer_of_the_members_scheduler() -> None:
    waits = pod(status={"phase": "Pending", "conditions": [NO_PLACE]})
    assert unschedulable_since(waits) == (datetime(2026, 3, 1, 9, tzinfo=UTC), "0/1 nodes are available")


@pytest.mark.parametrize(
    "condition", [SCHEDULED, NO_PLACE | {"reason": "SchedulingGated"}, NO_PLACE | {"lastTransitionTime": None}]
)
def test_other_answers_of_the_scheduler_are_no_lack_of_a_place(condition: Manifest) -> None:
    assert unschedulable_since(pod(status={"conditions": [condition]})) is None


def test_a_pod_names_a_claim_only_if_the_claim_exists_without_the_pod() -> None:
    assert names_claim(pod({"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}))
    assert not names_claim(pod({"volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": {}}}]}))
    assert not names_claim(pod())


def node(name: str = "beta", *, ready: str = "True", labels: Manifest | None = None, **spec: Any) -> Node:
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    return as_node({"metadata": {"name": name, "labels": labels or {}}, "spec": spec, "status": status})


def taint(effect: str = "NoSchedule", key: str = "team", value: str = "ml") -> Manifest:
    return {"key": key, "value": value, "effect": effect}


AFFINITY: Final = {
    "nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]
        }
    }
}


@pytest.mark.parametrize(
    ("spec", "other", "fits"),
    [
        pytest.param({}, node(), True, id="another Ready node"),
        pytest.param({}, node("alpha"), False, id="only the same node"),
        pytest.param({}, node(ready="Unknown"), False, id="not Ready"),
        pytest.param({}, node(unschedulable=True), False, id="cordoned"),
        pytest.param({"nodeSelector": {"zone": "a"}}, node(), False, id="nodeSelector does not match"),
        pytest.param({"nodeSelector": {"zone": "a"}}, node(labels={"zone": "a"}), True, id="nodeSelector matches"),
        pytest.param({"affinity": AFFINITY}, node(labels={"zone": "b"}), False, id="affinity does not match"),
        pytest.param({"affinity": AFFINITY}, node(labels={"zone": "a"}), True, id="affinity matches"),
        pytest.param({}, node(taints=[taint()]), False, id="tainted"),
        pytest.param({}, node(taints=[taint("NoExecute")]), False, id="tainted NoExecute"),
        pytest.param({}, node(taints=[taint("PreferNoSchedule")]), True, id="tainted, preferably not"),
        pytest.param(
            {"tolerations": [{"key": "team", "value": "ml", "effect": "NoSchedule"}]},
            node(taints=[taint()]),
            True,
            id="tolerated",
        ),
        pytest.param(
            {"tolerations": [{"key": "team", "operator": "Exists"}]}, node(taints=[taint()]), True, id="key tolerated"
        ),
        pytest.param(
            {"tolerations": [{"operator": "Exists"}]}, node(taints=[taint(), taint("NoExecute", "x")]), True, id="all"
        ),
        pytest.param(
            {"tolerations": [{"key": "team", "value": "web"}]}, node(taints=[taint()]), False, id="another value"
        ),
        pytest.param(
            {"tolerations": [{"key": "team", "operator": "Exists", "effect": "NoExecute"}]},
            node(taints=[taint()]),
            False,
            id="another effect",
        ),
    ],
)
def test_another_node_fits_a_pod(spec: Manifest, other: Node, fits: bool) -> None:
    assert fits_elsewhere(pod(spec), "alpha", [node("alpha"), other]) == fits


def test_the_pods_of_a_controller_are_evicted_in_rounds_with_growing_pauses() -> None:
    rounds = Rounds()
    assert rounds.delay(1000) == 0.0
    assert rounds.delay(1029) == 0.0, "the same round"
    assert rounds.delay(1030) == 270.0
    assert rounds.delay(1300) == 0.0, "the second round"
    assert rounds.delay(1330) == 570.0
    assert not rounds.is_over(1330)
    assert rounds.delay(20000) == 0.0
    assert rounds.delay(20030) == 270.0, "it was forgotten, and begins from the start"


class Parent(Server):
    """Has one pod, of a ReplicaSet or of no controller, and another node that is Ready."""

    def __init__(self, *, kind: str = "ReplicaSet") -> None:
        super().__init__()
        self.kind = kind

    async def request(self, method: str, path: str, *, body: bytes | None = None, **options: Any) -> bytes:
        if method == "GET" and path.endswith("/nodes"):
            beta = {"metadata": {"name": "beta"}, "status": {"conditions": [READY]}}
            return msgspec.json.encode({"metadata": {"resourceVersion": "1"}, "items": [beta]})
        if method == "GET":
            owners = [{"kind": self.kind, "name": "web", "controller": True}] if self.kind else []
            return msgspec.json.encode({"metadata": {"name": "web", "uid": "p-web", "ownerReferences": owners}})
        if method == "DELETE":
            self.written.append((method, path, msgspec.json.decode(body or b"{}")))
            return b"{}"
        return await super().request(method, path, body=body, **options)

    @property
    def deletions(self) -> list[Manifest]:
        return [body for method, _, body in self.written if method == "DELETE"]


class Refusing(Server):
    """A member that refuses every pod."""

    async def request(self, method: str, path: str, *, body: bytes | None = None, **options: Any) -> bytes:
        if method == "POST":
            self.written.append((method, path, {}))
            raise api_error(403, "Forbidden", "exceeded quota")
        return await super().request(method, path, body=body, **options)


@asynccontextmanager
async def bound(above: Parent, below: Server) -> AsyncIterator[None]:
    """A pod is bound to the virtual node, and its creation is sent to the member."""
    with pytest.raises(ExceptionGroup):
        async with served(above, below):
            metadata = {"name": "web", "namespace": "shop", "uid": "p-web", "resourceVersion": "5"}
            above.feed("ADDED", metadata, spec=SPEC, status={"phase": "Pending", "conditions": [SCHEDULED]})
            await eventually_here(lambda: below.written, "the member pod is created")
            yield


def find_no_place(below: Server, since: str = OLD) -> None:
    made = below.written[0][2]["metadata"] | {"uid": "m-1", "resourceVersion": "7"}
    status = {"phase": "Pending", "conditions": [NO_PLACE | {"lastTransitionTime": since}]}
    below.feed("MODIFIED", made, spec=SPEC, status=status)


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def note(_recorder: Recorder, _resource: Resource, _about: Metadata, _type: str, reason: str, message: str) -> None:
        found.append((reason, message))

    monkeypatch.setattr(Recorder, "event", note)
    return found


async def test_a_pod_that_the_member_cannot_place_for_long_is_evicted(events: list[tuple[str, str]]) -> None:
    above, below = Parent(), Server()
    async with bound(above, below):
        find_no_place(below)
        await eventually_here(lambda: above.deletions, "it is evicted")
    assert above.deletions[0]["preconditions"] == {"uid": "p-web"}
    assert wellknown.EVICTED in dict(events)


async def test_a_pod_that_the_member_cannot_place_yet_stays() -> None:
    above, below = Parent(), Server()
    async with bound(above, below):
        find_no_place(below, since="2026-03-01T09:59:00Z")
        await eventually_here(lambda: above.written, "the status is written")
    assert above.deletions == []


async def test_a_pod_that_nothing_replaces_waits_and_an_event_says_why(events: list[tuple[str, str]]) -> None:
    above, below = Parent(kind="DaemonSet"), Server()
    async with bound(above, below):
        find_no_place(below)
        await eventually_here(lambda: wellknown.NOT_EVICTED in dict(events), "an Event says why it waits")
    assert "a DaemonSet would not replace it on another node" in dict(events)[wellknown.NOT_EVICTED]
    assert above.deletions == []


@pytest.mark.looptime
async def test_a_pod_that_the_member_refuses_for_long_is_evicted(events: list[tuple[str, str]]) -> None:
    above, below = Parent(), Refusing()
    began = asyncio.get_running_loop().time()
    async with bound(above, below):
        await eventually_here(lambda: above.deletions, "it is evicted")
        ended = asyncio.get_running_loop().time()
    assert 300 <= ended - began <= 340, "after spec.unschedulableSeconds, at the next attempt"
    assert "exceeded quota" in dict(events)[wellknown.EVICTED]
