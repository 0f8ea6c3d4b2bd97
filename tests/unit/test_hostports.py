"""Host ports: who may have one that somebody asks for too."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import Raw

from tests.unit.pods import pod
from vk_provider.api.wellknown import CREATED_CONDITION
from vk_provider.kube.objects import Pod, encode
from vk_provider.translate.pods.hostports import host_port_clash


def with_port(name: str, minute: int, phase: str = "Running", **port: Any) -> Pod:
    """A pod, made in that minute of an hour, with a port of its host."""
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
def test_a_port_is_taken_by_protocol_and_address(port: dict[str, Any], clashes: bool) -> None:
    assert (host_port_clash(with_port("second", 2, **port), [FIRST]) is not None) is clashes


def test_different_addresses_have_different_ports() -> None:
    one, two = (with_port(f"on-{end}", end, hostPort=80, hostIP=f"10.0.0.{end}") for end in (1, 2))
    assert host_port_clash(two, [one]) is None


def test_the_older_pod_keeps_the_port_and_one_that_has_ended_gives_it_back() -> None:
    assert host_port_clash(FIRST, [with_port("second", 2, hostPort=8080), FIRST]) is None
    ended = with_port("ended", 0, phase="Failed", hostPort=8080)
    assert host_port_clash(FIRST, [ended]) is None


def test_a_rejected_pod_is_told_who_has_the_port() -> None:
    refused = host_port_clash(with_port("second", 2, hostPort=8080), [FIRST])
    assert refused is not None
    said = "host port 8080/TCP is taken by pod shop/first"
    assert (refused.reason, refused.message, refused.status_message) == ("NodePorts", said, f"Pod was rejected: {said}")


def test_a_pod_that_was_let_in_keeps_the_port_also_against_one_of_the_same_second() -> None:
    let_in = with_port("z", 1, hostPort=8080)
    condition = {"type": CREATED_CONDITION, "status": "True"}
    let_in.status = Raw(encode({"phase": "Running", "conditions": [condition]}))
    assert host_port_clash(with_port("a", 1, hostPort=8080), [let_in]) is not None
