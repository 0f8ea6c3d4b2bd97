"""Containers that the member's admission adds to a member pod (a mesh, an agent) do not exist in the parent pod."""

from __future__ import annotations

import pytest

from tests.unit.pods import NAMES, Manifest, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.translate.pods.status import reflected

NOW = "2026-03-01T12:00:00Z"
RUNS: Manifest = {"running": {"startedAt": NOW}}


def ended(code: int) -> Manifest:
    return {"terminated": {"exitCode": code}}


def entry(name: str, state: Manifest = RUNS) -> Manifest:
    return {"name": name, "restartCount": 0, "ready": "running" in state, "state": state, "lastState": {}}


def parent(policy: str = "Always", **spec: object) -> Pod:
    return pod({"restartPolicy": policy, **spec}, {"phase": "Running"})


def shown(above: Pod, phase: str, *containers: Manifest, init: list[Manifest] | None = None) -> Manifest:
    status: Manifest = {"phase": phase, "containerStatuses": list(containers)}
    if init is not None:
        status["initContainerStatuses"] = init
    below = pod(status=status, uid="m-1", labels=NAMES.labels, annotations={wellknown.PARENT_UID: "p-1"})
    return reflected(above, below, now=NOW)


def names(status: Manifest, field: str) -> list[str]:
    return [container["name"] for container in status.get(field, [])]


def test_an_ordinary_container_that_was_added_is_left_out() -> None:
    status = shown(parent(), "Running", entry("app"), entry("mesh-proxy"))
    assert names(status, "containerStatuses") == ["app"]


def test_a_native_sidecar_that_was_added_is_left_out() -> None:
    status = shown(parent(), "Running", entry("app"), init=[entry("mesh-init")])
    assert "initContainerStatuses" not in status


def test_the_init_containers_of_the_pod_itself_are_shown() -> None:
    own = parent(initContainers=[{"name": "setup", "image": "s"}])
    status = shown(own, "Running", entry("app"), init=[entry("setup", ended(0)), entry("mesh-init")])
    assert names(status, "initContainerStatuses") == ["setup"]


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [
        ("Never", 0, "Succeeded"),
        ("Never", 1, "Failed"),
        ("OnFailure", 0, "Succeeded"),
        ("OnFailure", 1, "Running"),
        ("Always", 0, "Running"),
    ],
)
def test_a_container_that_was_added_does_not_prolong_the_pod(policy: str, code: int, phase: str) -> None:
    status = shown(parent(policy), "Running", entry("app", ended(code)), entry("mesh-proxy"))
    assert status["phase"] == phase


def test_the_phase_of_a_pod_without_added_containers_is_that_of_the_member() -> None:
    """Its kubelet has not written the phase yet."""
    assert shown(parent("Never"), "Running", entry("app", ended(0)))["phase"] == "Running"


def test_a_container_that_was_added_and_does_not_start_leaves_the_pod_pending() -> None:
    waits = {"waiting": {"reason": "PodInitializing"}}
    above = pod({"restartPolicy": "Always"}, {"phase": "Pending"})
    status = shown(above, "Pending", entry("app", waits), init=[entry("mesh-init", {"waiting": {"reason": "X"}})])
    assert status["phase"] == "Pending"
    assert names(status, "containerStatuses") == ["app"]
