"""Member pods without a parent pod, and the conditions for a returning member to be in sync."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.pods import NAMES, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod
from vk_provider.translate.pods.orphans import is_orphan, out_of_sync, outdated, runs_at_most_once, too_many

DELETED: dict[str, Any] = {"deletionTimestamp": "2030-01-01T00:00:00Z"}


def member_pod(parent_uid: str = "p-1", *, phase: str = "Running", ours: bool = True, **metadata: Any) -> Pod:
    """A member pod that was created for the parent pod with this UID."""
    annotations = {wellknown.PARENT_UID: parent_uid, wellknown.PARENT_NAMESPACE: "shop", wellknown.PARENT_NAME: "web-1"}
    labels = NAMES.labels if ours else {}
    return pod(None, {"phase": phase}, uid="m-1", labels=labels, annotations=annotations, **metadata)


@pytest.mark.parametrize(
    ("parent", "member", "orphan"),
    [
        (None, member_pod(), True),
        (pod(uid="p-2"), member_pod(), True),
        (pod(), member_pod(), False),
        (pod(**DELETED), member_pod(), False),
        (None, member_pod(**DELETED), False),
        (None, member_pod(ours=False), False),
    ],
)
def test_a_member_pod_of_ours_without_its_parent_pod_is_an_orphan(
    parent: Pod | None, member: Pod, orphan: bool
) -> None:
    assert is_orphan(parent, member, NAMES) is orphan


@pytest.mark.parametrize(
    ("orphans", "total", "many"), [(10, 10, False), (11, 11, True), (11, 21, True), (11, 22, False), (500, 5000, False)]
)
def test_more_than_ten_and_more_than_half_are_too_many(orphans: int, total: int, many: bool) -> None:
    assert too_many(orphans, total) is many


@pytest.mark.parametrize(
    ("parent", "member", "what"),
    [
        (pod(None, {"phase": "Running"}), member_pod(), ""),
        (None, member_pod(), "has no parent pod any more"),
        (None, member_pod(**DELETED), ""),
        (pod(uid="p-2"), member_pod(), "has no parent pod any more"),
        (pod(uid="p-2", status={"phase": "Pending"}), member_pod(phase="Succeeded", **DELETED), ""),
        (pod(**DELETED), member_pod(), "is deleted, and not yet in the member"),
        (pod(**DELETED), member_pod(**DELETED), ""),
        (pod(None, {"phase": "Running"}), member_pod(phase="Succeeded"), "has ended"),
        (pod(None, {"phase": "Failed"}), member_pod(phase="Failed"), ""),
    ],
)
def test_a_member_is_in_sync_when_each_of_its_pods_is(parent: Pod | None, member: Pod, what: str) -> None:
    parents = {} if parent is None else {"shop/web-1": parent}
    found = [str(each) for each in out_of_sync(parents, [member], NAMES)]
    assert found == ([f"pod shop/web-1 {what}"] if what else [])


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_has_ended_and_is_still_being_deleted_hangs(phase: str) -> None:
    parent = pod(None, {"phase": "Running"})
    (found,) = out_of_sync({"shop/web-1": parent}, [member_pod(phase=phase, **DELETED)], NAMES)
    assert found.hangs


@pytest.mark.parametrize(
    ("member", "unique"),
    [
        (pod(), False),
        (pod(labels={"statefulset.kubernetes.io/pod-name": "db-0"}), True),
        (pod(annotations={wellknown.AT_MOST_ONCE: "true"}), True),
    ],
)
def test_pods_of_stateful_sets_and_annotated_ones_run_at_most_once(member: Pod, unique: bool) -> None:
    assert runs_at_most_once(member) is unique


def listed(name: str, version: str) -> Metadata:
    return Metadata(name=name, namespace="shop", resource_version=version)


@pytest.mark.parametrize(
    ("cached", "list_version", "stale"),
    [
        ({"a": "5", "b": "7"}, "9", ""),
        ({"a": "5", "b": "10"}, "9", ""),
        ({"a": "5", "b": "6"}, "9", "shop/b"),
        ({"a": "5"}, "9", "shop/b"),
        ({"a": "5", "b": "7", "c": "8"}, "9", "shop/c"),
        ({"a": "5", "b": "7", "c": "10"}, "9", ""),
    ],
)
def test_a_cache_is_outdated_if_it_is_older_than_a_list(cached: dict[str, str], list_version: str, stale: str) -> None:
    items = {f"shop/{name}": pod(name=name, resourceVersion=version) for name, version in cached.items()}
    assert outdated(items, [listed("a", "5"), listed("b", "7")], list_version) == stale
