"""A virtual node keeps its port of a range over restarts, and leaves those of other nodes alone."""

from __future__ import annotations

from vk_provider.config import PortRange
from vk_provider.translate.kubelet.ports import candidates

PORTS = PortRange(10250, 10259)


def test_the_published_port_is_first() -> None:
    for port in range(10250, 10260):
        assert candidates("west", PORTS, published=port, of_others={port})[0] == port


def test_every_port_of_the_range_is_tried_once() -> None:
    assert sorted(candidates("west", PORTS, published=0)) == list(range(10250, 10260))


def test_a_published_port_outside_of_the_range_does_not_count() -> None:
    assert candidates("west", PORTS, published=43197) == candidates("west", PORTS, published=0)


def test_ports_that_other_nodes_publish_come_last() -> None:
    others = set(range(10250, 10258))
    found = candidates("west", PORTS, published=0, of_others=others)
    assert set(found[:2]) == {10258, 10259} and set(found[2:]) == others


def test_the_order_follows_from_the_name() -> None:
    first = {candidates(f"member-{i}", PORTS, published=0)[0] for i in range(30)}
    assert len(first) > 5
    assert candidates("west", PORTS, published=0) == candidates("west", PORTS, published=0)
