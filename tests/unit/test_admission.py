"""Admission of pods to a virtual node: host ports that several pods request, and nodes that a pod selects."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tests.unit.pods import Manifest, pod
from vk_provider.api.wellknown import CREATED_CONDITION
from vk_provider.kube.objects import Metadata, Pod, encode
from vk_provider.translate.pods.admission import host_port_clash, is_unchecked, misplaced
from vk_provider.translate.pods.decide import needs_admission


def with_port(name: str, minute: int, phase: str = "Running", **port: Any) -> Pod:
    """A pod that was created in this minute of the hour, with a host port."""
    container = {"name": "app", "image": "app:1", "ports": [{"containerPort": 80, **port}]}
    created = f"2026-03-01T10:{minute:02}:00Z"
    return pod({"containers": [container]}, {"phase": phase}, name=name, uid=f"uid-{name}", creationTimestamp=created)


FIRST = with_port("first", 1, hostPort=8080, protocol="TCP")


@pytest.mark.parametrize(
    ("port", "clashes"),
    [
        ({"hostPort": 8080, "protocol": "TCP"}, True),
        ({"hostPort": 8080, "protocol": "TCP", "hostIP": "10.0.0.1"}, True),
        ({"hostPort": 8080, "protocol": "UDP"}, False),
        ({"hostPort": 8081, "protocol": "TCP"}, False),
        ({}, False),
    ],
)
def test_host_ports_conflict_by_port_protocol_and_address(port: dict[str, Any], clashes: bool) -> None:
    assert (host_port_clash(with_port("second", 2, **port), [FIRST]) is not None) is clashes


def test_the_same_port_at_different_addresses_is_no_conflict() -> None:
    one, two = (with_port(f"on-{end}", end, hostPort=80, hostIP=f"10.0.0.{end}") for end in (1, 2))
    assert host_port_clash(two, [one]) is None


def test_the_older_pod_keeps_the_port_and_a_terminated_pod_releases_it() -> None:
    assert host_port_clash(FIRST, [with_port("second", 2, hostPort=8080), FIRST]) is None
    ended = with_port("ended", 0, phase="Failed", hostPort=8080)
    assert host_port_clash(FIRST, [ended]) is None


def test_the_message_of_a_rejected_pod_names_the_pod_that_has_the_port() -> None:
    rejected = host_port_clash(with_port("second", 2, hostPort=8080), [FIRST])
    assert rejected is not None
    message = "host port 8080/TCP is taken by pod shop/first"
    assert (rejected.reason, rejected.message) == ("NodePorts", message)
    assert rejected.status_message == f"Pod was rejected: {message}"


def test_an_admitted_pod_keeps_the_port_against_a_pod_of_the_same_second() -> None:
    admitted = with_port("z", 1, hostPort=8080)
    condition = {"type": CREATED_CONDITION, "status": "True"}
    admitted.status = Raw(encode({"phase": "Running", "conditions": [condition]}))
    assert host_port_clash(with_port("a", 1, hostPort=8080), [admitted]) is not None


NODE = Metadata(name="alpha", labels={"disk": "ssd"})
SELECTOR: Manifest = {"nodeSelector": {"disk": "ssd"}}


def affinity(operator: str) -> Manifest:
    terms = [{"matchExpressions": [{"key": "disk", "operator": operator, "values": ["ssd"]}]}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    return {"affinity": {"nodeAffinity": required}}


@pytest.mark.parametrize(
    ("spec", "admitted"),
    [
        (SELECTOR, True),
        ({"nodeSelector": {"disk": "hdd"}}, False),
        (affinity("In"), True),
        (affinity("NotIn"), False),
    ],
)
def test_a_pod_is_admitted_by_the_labels_of_its_node(spec: Manifest, admitted: bool) -> None:
    found = misplaced(pod(spec), NODE)
    assert (found.reason if found else "") == ("" if admitted else "NodeAffinity")


@pytest.mark.parametrize(
    ("spec", "scheduled", "unchecked"),
    [(SELECTOR, "False", True), (affinity("In"), "False", True), (SELECTOR, "True", False), ({}, "False", False)],
)
def test_node_selectors_are_checked_only_for_pods_that_no_scheduler_has_placed(
    spec: Manifest, scheduled: str, unchecked: bool
) -> None:
    status = {"conditions": [{"type": "PodScheduled", "status": scheduled}]}
    assert is_unchecked(pod(spec, status)) == unchecked
    assert needs_admission(pod(spec, status)) == unchecked


def test_pods_without_host_ports_are_not_decoded() -> None:
    other = pod(name="other", uid="p-2")
    other.status = Raw(b"cannot be decoded")
    wanted = pod({"containers": [{"name": "app", "ports": [{"containerPort": 80, "hostPort": 80}]}]})
    assert host_port_clash(wanted, [other]) is None
