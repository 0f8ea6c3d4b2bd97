"""Status writes of a pod with concurrent writes of other clients."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from aiohttp import web

from tests.gateway import Gateway
from tests.unit.merge import merge
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import PODS
from vk_provider.sync.pods.status import StatusWriter


def pod(ready: str, restarts: int) -> dict[str, Any]:
    state = {"running": {"startedAt": "2030-01-01T00:00:00Z"}}
    return {
        "metadata": {"namespace": "shop", "name": "web", "uid": "p-1"},
        "spec": {"containers": [{"name": "web", "image": "web"}]},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": "2030-01-01T00:00:00Z"}],
            "containerStatuses": [{"name": "web", "restartCount": restarts, "ready": True, "state": state}],
        },
    }


def decoded(manifest: dict[str, Any]) -> Pod:
    return msgspec.json.decode(json.dumps(manifest), type=Pod)


async def test_a_concurrent_ready_condition_of_another_client_is_overwritten() -> None:
    """The node controller does this if the node was not Ready. The watch has not shown it yet."""
    patches: list[dict[str, Any]] = []

    async def script(request: web.Request) -> web.StreamResponse:
        patches.append(await request.json())
        return web.json_response(pod("False", 1))

    member = decoded(pod("True", 1))
    async with Gateway(script) as gateway, gateway.client() as client:
        writer = StatusWriter(client, Informer(client, PODS, Pod))
        await writer.reflect(decoded(pod("True", 0)), member)
        assert not any(condition["type"] == "Ready" for condition in patches[0]["status"].get("conditions", ()))
        await writer.reflect(decoded(pod("False", 1)), member)
    (ready,) = (condition for condition in patches[1]["status"]["conditions"] if condition["type"] == "Ready")
    assert ready["status"] == "True"


class Cache(Informer[Pod]):
    """A cache of parent pods. Records whether the answer to a write is announced to handlers."""

    def __init__(self, client: Client) -> None:
        super().__init__(client, PODS, Pod)
        self.announced: list[bool] = []

    def observe(self, item: Pod, *, notify: bool = True) -> None:
        self.announced.append(notify)


@pytest.mark.parametrize(
    ("answer", "announced"),
    [
        pytest.param({}, False, id="only this write"),
        pytest.param({"metadata": {"deletionTimestamp": "2030-01-01T00:00:30Z"}}, True, id="a deletion"),
        pytest.param({"metadata": {"labels": {"tier": "web"}}}, True, id="a label"),
        pytest.param({"metadata": {"annotations": {"note": "new"}}}, True, id="an annotation"),
        pytest.param({"spec": {"activeDeadlineSeconds": 60}}, True, id="an edit of the spec"),
        pytest.param({"status": pod("False", 1)["status"]}, True, id="a condition that another client wrote"),
    ],
)
async def test_changes_in_the_answer_to_a_write_are_announced_because_the_watch_does_not_show_them_again(
    answer: dict[str, Any], announced: bool
) -> None:
    async def script(request: web.Request) -> web.StreamResponse:
        before = pod("True", 0)
        status = merge(before["status"], (await request.json())["status"])
        written = before | {"status": status}
        return web.json_response({part: written[part] | answer.get(part, {}) for part in written})

    async with Gateway(script) as gateway, gateway.client() as client:
        cache = Cache(client)
        await StatusWriter(client, cache).reflect(decoded(pod("True", 0)), decoded(pod("True", 1)))
    assert cache.announced == [announced]
