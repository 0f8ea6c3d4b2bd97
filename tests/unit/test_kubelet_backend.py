"""The member pod of a kubelet request, and the kubelet's errors if there is none."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from tests.unit.pods import PARENT, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.kubelet.backend import Backend
from vk_provider.translate.names import Names
from vk_provider.translate.state.health import Assessment

NAMES = Names("member-a", PARENT, prefix="east-")


def member_pod(uid: str = "p-1") -> Pod:
    found = pod(name="web-1", uid="m-1", annotations={wellknown.PARENT_UID: uid})
    found.metadata.namespace = "east-shop"
    return found


class Pods(NamedTuple):
    items: dict[str, Pod]


class State(NamedTuple):
    lost_reason: str
    health: Assessment = Assessment()
    last_sign_of_life: float = 0.0


def backend(parent: Pod | None, member: Pod | None = None, *, unreachable: str | None = None) -> Backend:
    return Backend(
        NAMES,
        None,  # type: ignore[arg-type]  # finding a pod sends no request
        Pods({"shop/web-1": parent} if parent else {}),
        Pods({"east-shop/web-1": member} if member else {}),
        State(unreachable or ""),
    )


def path_of(subresource: str, of: Backend, **more: str) -> str:
    found = {"namespace": "shop", "pod": "web-1", "container": "app", **more}
    return of.path(make_mocked_request("GET", "/", match_info=found), subresource)


def refusal(subresource: str, of: Backend, **more: str) -> tuple[int, str]:
    with pytest.raises(web.HTTPException) as caught:
        path_of(subresource, of, **more)
    return caught.value.status, caught.value.text or ""


def waiting(reason: str, name: str = "app", kind: str = "containerStatuses") -> dict[str, Any]:
    return {"phase": "Pending", kind: [{"name": name, "state": {"waiting": {"reason": reason}}}]}


def test_a_request_reaches_the_member_pod_with_the_same_name() -> None:
    assert path_of("log", backend(pod(), member_pod())) == "/api/v1/namespaces/east-shop/pods/web-1/log"


def test_a_request_with_the_uid_of_the_pod_reaches_it_too() -> None:
    assert path_of("exec", backend(pod(), member_pod()), uid="p-1").endswith("/web-1/exec")


def test_a_request_with_another_uid_is_not_found() -> None:
    assert refusal("exec", backend(pod(), member_pod()), uid="p-0") == (404, 'pod "shop/web-1" not found')


def test_a_pod_that_is_not_on_this_node_is_not_found() -> None:
    assert refusal("log", backend(None, member_pod())) == (404, 'pod "shop/web-1" not found')


def test_the_member_pod_of_an_earlier_pod_with_the_same_name_is_not_used() -> None:
    """It may run until its grace period is over, but belongs to the earlier pod."""
    earlier = member_pod(uid="p-0")
    assert refusal("exec", backend(pod(), earlier)) == (
        400,
        'container "app" in pod "web-1" is waiting to start: ContainerCreating',
    )


@pytest.mark.parametrize("subresource", ["log", "exec", "attach", "portforward"])
def test_a_request_to_a_lost_member_fails_at_once(subresource: str) -> None:
    lost = backend(pod(), member_pod(), unreachable="https://member: no answer in time")
    message = "the member behind node member-a is lost: https://member: no answer in time"
    assert refusal(subresource, lost) == (500, message)


@pytest.mark.parametrize(
    ("status", "message"),
    [
        ({}, "is waiting to start: ContainerCreating"),
        (waiting("NameConflict"), "is waiting to start: NameConflict"),
        (waiting("PodInitializing", kind="initContainerStatuses"), "is waiting to start: PodInitializing"),
        (waiting("NameConflict", name="other"), "is waiting to start: ContainerCreating"),
        (
            {"phase": "Pending", "containerStatuses": [{"name": "app"}]},
            "is waiting to start: ContainerCreating",
        ),
        (
            {"phase": "Running", "containerStatuses": [{"name": "app", "state": {"terminated": {"exitCode": 1}}}]},
            "is terminated",
        ),
        ({"phase": "Failed"}, "is terminated"),
        (
            {"phase": "Succeeded", "containerStatuses": [{"name": "app", "state": {"running": {}}}]},
            "is terminated",
        ),
    ],
)
def test_without_a_member_pod_the_error_is_the_one_of_a_kubelet(status: dict[str, Any], message: str) -> None:
    for subresource in ("log", "exec", "attach"):
        assert refusal(subresource, backend(pod(status=status))) == (400, f'container "app" in pod "web-1" {message}')


def test_the_error_of_port_forwarding_names_no_container() -> None:
    status, text = refusal("portforward", backend(pod(status=waiting("NameConflict"))), container="")
    assert (status, text) == (400, 'pod "web-1" is waiting to start: NameConflict')
