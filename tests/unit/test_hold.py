"""Pods that are held on a lost member by their annotation: their tolerations during the hold and after it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pods import as_node, as_pod, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod, encode, fields
from vk_provider.translate.nodes.hold import (
    asks,
    hold_patch,
    is_held,
    release_patch,
    takes_pods,
)
from vk_provider.translate.tolerations import DEAD_NODE_TAINTS

KEYS = list(DEAD_NODE_TAINTS)


def applied(before: Pod, patch: dict[str, Any]) -> Pod:
    """The pod after the merge patch."""
    annotations = before.metadata.annotations | patch["metadata"]["annotations"]
    annotations = {key: value for key, value in annotations.items() if value is not None}
    spec = fields(before.spec) | patch["spec"]
    return pod(spec, name=before.metadata.name, annotations=annotations)


def tolerates_for(held: Pod, key: str) -> float:
    """The seconds as Kubernetes computes them: the first toleration that matches the taint counts; none means 0."""
    for each in fields(held.spec).get("tolerations") or ():
        if each.get("effect", "") in ("", "NoExecute") and each.get("key", "") in ("", key):
            if each.get("operator") == "Exists" or not each.get("value"):
                seconds = each.get("tolerationSeconds")
                return float("inf") if seconds is None else max(0, seconds)
    return 0


tolerations = st.lists(
    st.fixed_dictionaries(
        {"operator": st.just("Exists")},
        optional={
            "key": st.sampled_from([*KEYS, "other"]),
            "effect": st.sampled_from(["NoExecute", "NoSchedule"]),
            "tolerationSeconds": st.integers(-1, 600),
        },
    ),
    max_size=5,
)


@given(tolerations)
def test_a_held_pod_tolerates_a_dead_node_without_limit_and_a_released_pod_as_long_as_before(given: list[Any]) -> None:
    before = pod({"tolerations": given})
    held = applied(before, hold_patch(before))
    assert is_held(held)
    released = applied(held, release_patch(held))
    assert not is_held(released)
    for key in KEYS:
        assert tolerates_for(held, key) == float("inf")
        assert tolerates_for(released, key) == tolerates_for(before, key)


@given(tolerations)
def test_no_toleration_is_ever_removed(given: list[Any]) -> None:
    before = pod({"tolerations": given})
    held = applied(before, hold_patch(before))
    for one, other in ((before, held), (held, applied(held, release_patch(held)))):
        kept = [_without_seconds(each) for each in fields(other.spec)["tolerations"]]
        assert all(_without_seconds(each) in kept for each in fields(one.spec)["tolerations"])


def _without_seconds(toleration: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in toleration.items() if key != "tolerationSeconds"}


def test_a_damaged_record_of_seconds_is_removed() -> None:
    broken = pod({"tolerations": [{"operator": "Exists"}]}, annotations={wellknown.HELD: "?"})
    assert release_patch(broken)["spec"]["tolerations"] == [{"operator": "Exists"}]
    assert release_patch(broken)["metadata"]["annotations"] == {wellknown.HELD: None}


@pytest.mark.parametrize(
    ("annotations", "deleted", "wanted"),
    [
        ({}, False, False),
        ({wellknown.ON_LOST: "Reschedule"}, False, False),
        ({wellknown.ON_LOST: "Hold"}, False, True),
        ({wellknown.ON_LOST: "Hold"}, True, False),
    ],
)
def test_only_pods_with_the_annotation_are_held(annotations: dict[str, str], deleted: bool, wanted: bool) -> None:
    deletion = "2030-01-01T00:00:00Z" if deleted else None
    assert asks(pod(annotations=annotations, deletionTimestamp=deletion)) is wanted


@pytest.mark.parametrize(
    ("ready", "cordoned", "takes"), [("True", False, True), ("True", True, False), ("False", False, False)]
)
def test_a_node_accepts_pods_if_it_is_ready_and_not_cordoned(ready: str, cordoned: bool, takes: bool) -> None:
    conditions = [{"type": "Ready", "status": ready}]
    manifest = {
        "metadata": {"name": "n"},
        "spec": {"unschedulable": cordoned},
        "status": {"conditions": conditions},
    }
    assert takes_pods(as_node(manifest)) is takes


def test_the_patch_applies_only_to_this_version_of_the_pod() -> None:
    found = as_pod({"metadata": {"name": "a", "uid": "u", "resourceVersion": "7"}, "spec": {}})
    assert hold_patch(found)["metadata"].items() >= {"uid": "u", "resourceVersion": "7"}.items()
    assert b'"resourceVersion":"7"' in encode(release_patch(found))
