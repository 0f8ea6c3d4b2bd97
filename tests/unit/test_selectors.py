"""Whether a node matches the node selector and the required node affinity of a pod."""

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


def requirement(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": list(values)}]}


@pytest.mark.parametrize(
    ("spec", "fits"),
    [
        ({}, True),
        ({"nodeSelector": {"zone": "a"}}, True),
        ({"nodeSelector": {"zone": "b"}}, False),
        (required(requirement("zone", "In", "a", "b")), True),
        (required(requirement("zone", "NotIn", "a")), False),
        (required(requirement("zone", "Exists")), True),
        (required(requirement("gpu", "Exists")), False),
        (required(requirement("gpu", "DoesNotExist")), True),
        (required(requirement("cores", "Gt", "7")), True),
        (required(requirement("cores", "Lt", "8")), False),
        (required(requirement("zone", "Gt", "7")), False),
        (required(requirement("zone", "Like", "a")), False),
        (required(requirement("gpu", "Exists"), requirement("zone", "In", "a")), True),
        (required({}), False),
        (required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]}), True),
        (required({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n2"]}]}), False),
        (required(requirement("zone", "In", "a")) | {"nodeSelector": {"zone": "b"}}, False),
    ],
)
def test_a_node_matches_the_selectors_of_a_pod(spec: dict[str, Any], fits: bool) -> None:
    assert node_affinity_matches(pod(spec), [NODE]) is fits
    assert node_affinity_matches(pod(spec), []) is False
