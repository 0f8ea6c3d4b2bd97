"""Node selectors and required node affinity of pods."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.pods import pod
from vk_provider.kube.objects import Metadata
from vk_provider.translate.selectors import node_affinity_matches

NODE = Metadata(name="n1", labels={"zone": "a", "cores": "8"})


def required(*terms: dict[str, Any]) -> dict[str, Any]:
    return {
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}
    }


def wants(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        (required(wants("zone", "In", "a", "b")), True),
        (required(wants("zone", "NotIn", "a")), False),
        (required(wants("zone", "Exists")), True),
        (required(wants("gpu", "Exists")), False),
        (required(wants("gpu", "DoesNotExist")), True),
        (required(wants("cores", "Gt", "7")), True),
        (required(wants("cores", "Lt", "8")), False),
        (required(wants("zone", "Gt", "7")), False),
        (required(wants("zone", "Like", "a")), False),
        (required(wants("gpu", "Exists"), wants("zone", "In", "a")), True),
        (required({}), False),
        (required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), True),
        (required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}), False),
        (required(wants("zone", "In", "a")) | {"nodeSelector": {"zone": "b"}}, False),
    ],
)
def test_a_node_matches_a_pod_that_selects_it(spec: dict[str, Any], fits: bool) -> None:
    assert node_affinity_matches(pod(spec), [NODE]) is fits
    assert node_affinity_matches(pod(spec), []) is False
