"""What the owner of a member declares about its offer is on the Node at once; only what others use is smoothed."""

from __future__ import annotations

import pytest

from tests.unit.pods import Manifest
from tests.unit.virtual_nodes import NAME, cluster, node
from vk_provider.translate.nodes.wanted import Known, NodeView

GPU = {"key": "example.com/gpu", "value": "present", "effect": "NoSchedule"}
PROMISE = {"capacityPolicy": "Promise", "capacity": {"cpu": "64"}}
NODES = [node("n1"), node("n2", taints=(GPU,))]


def cpu(view: NodeView, now: float, spec: Manifest | None = None) -> str:
    return view.look(now, cluster(spec), NODES, {}).offer.allocatable["cpu"]


@pytest.mark.parametrize(
    ("before", "after", "offered"),
    [
        (None, PROMISE, ("4", "64")),
        (PROMISE, None, ("64", "4")),
        ({"capacity": {"cpu": "2"}}, {"capacity": {"cpu": "3"}}, ("2", "3")),
        ({"capacity": {"cpu": "2"}}, None, ("2", "4")),
        (None, {"tolerations": [{"key": "example.com/gpu", "operator": "Exists"}]}, ("4", "8")),
    ],
)
def test_a_change_of_the_spec_is_offered_at_once(
    before: Manifest | None, after: Manifest | None, offered: tuple[str, str]
) -> None:
    view = NodeView(NAME, Known(), cluster(before), 0.0)
    assert (cpu(view, 0.0, before), cpu(view, 1.0, after)) == offered


def test_another_change_of_the_spec_does_not_end_the_smoothing() -> None:
    view, labelled = NodeView(NAME, Known(), cluster(), 0.0), cluster({"labels": {"a": "b"}})
    assert view.look(0.0, cluster(), NODES[:1], {}).offer.allocatable["cpu"] == "4"
    assert view.look(1.0, labelled, [node("n1"), node("n3")], {}).offer.allocatable["cpu"] == "4"
    assert view.look(31.0, labelled, [node("n1"), node("n3")], {}).offer.allocatable["cpu"] == "8"
