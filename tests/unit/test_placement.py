"""Pods bound past the scheduler: admitted where the node is what they ask for."""

from __future__ import annotations

import pytest

from tests.unit.pods import Manifest, pod
from vk_provider.kube.objects import Metadata
from vk_provider.translate.pods.placement import is_unchecked, misplaced

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
def test_only_what_no_scheduler_has_placed_is_looked_at(spec: Manifest, scheduled: str, unchecked: bool) -> None:
    status = {"conditions": [{"type": "PodScheduled", "status": scheduled}]}
    assert is_unchecked(pod(spec, status)) == unchecked
