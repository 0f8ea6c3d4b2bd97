"""What is written of a pod while somebody else writes it too."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from aiohttp import web

from tests.gateway import Gateway
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


async def test_a_pod_that_somebody_else_made_not_ready_meanwhile_is_made_ready_again() -> None:
    """As the node controller does where the node was away, and the watch has not told it yet."""
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
