"""Requests for extended resources that no node of the member has are omitted, as by a kubelet's admission."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.pods import TARGET, as_pod, pod
from vk_provider.kube.objects import fields
from vk_provider.translate.extended import is_extended
from vk_provider.translate.pods.change import changes
from vk_provider.translate.pods.differences import differences
from vk_provider.translate.pods.pod import member_pod


def container(name: str, resources: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "image": "app:1", "resources": resources}


REQUESTED = {
    "requests": {"cpu": "1", "example.com/fake": "1", "nvidia.com/gpu": "1"},
    "limits": {"example.com/fake": "1", "nvidia.com/gpu": "1"},
}
PARENT = pod({"containers": [container("app", REQUESTED)], "initContainers": [container("init", REQUESTED)]})


@pytest.mark.parametrize(
    ("name", "extended"),
    [
        ("cpu", False),
        ("memory", False),
        ("hugepages-2Mi", False),
        ("kubernetes.io/batch-cpu", False),
        ("storage.kubernetes.io/x", False),
        ("requests.example.com/fake", False),
        ("example.com/fake", True),
    ],
)
def test_a_resource_with_a_domain_other_than_the_one_of_kubernetes_is_extended(name: str, extended: bool) -> None:
    assert is_extended(name) == extended


def test_only_resources_of_the_member_are_requested() -> None:
    spec = member_pod(PARENT, TARGET, known={"cpu", "nvidia.com/gpu"})["spec"]
    for kind in ("containers", "initContainers"):
        assert spec[kind][0]["resources"] == {
            "requests": {"cpu": "1", "nvidia.com/gpu": "1"},
            "limits": {"nvidia.com/gpu": "1"},
        }


def test_all_requests_stay_if_the_resources_of_the_member_are_unknown() -> None:
    assert member_pod(PARENT, TARGET)["spec"]["containers"][0]["resources"] == REQUESTED


def test_omitted_resources_are_reported_as_missed() -> None:
    member = member_pod(PARENT, TARGET, known={"cpu", "nvidia.com/gpu"})
    missed = [
        difference.field
        for difference in differences({"spec": fields(PARENT.spec)}, member, TARGET)
        if difference.missed
    ]
    assert missed == ["spec.containers[app].resources", "spec.initContainers[init].resources"]


def test_a_resource_that_the_member_gets_later_does_not_change_running_pods() -> None:
    manifest = member_pod(PARENT, TARGET, known={"cpu"})
    manifest["metadata"]["uid"] = "m-1"
    assert changes(PARENT, as_pod(manifest), TARGET) == []


def test_a_resize_omits_resources_that_the_create_omitted() -> None:
    manifest = member_pod(PARENT, TARGET, known={"cpu"})
    manifest["metadata"]["uid"] = "m-1"
    larger = {**REQUESTED, "requests": REQUESTED["requests"] | {"cpu": "2"}}
    resized = pod({"containers": [container("app", larger)], "initContainers": [container("init", REQUESTED)]})
    first, _ = changes(resized, as_pod(manifest), TARGET)
    assert first.subresource == "resize"
    assert first.patch["spec"] == {"containers": [{"name": "app", "resources": {"requests": {"cpu": "2"}}}]}
