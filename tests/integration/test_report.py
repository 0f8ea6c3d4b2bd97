"""The status of a MemberCluster is written, and restored after another client changes it."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from tests.gateway import Gateway, failure
from tests.waiting import eventually_here
from vk_provider.kube.objects import Object, encode
from vk_provider.kube.recorder import Recorder
from vk_provider.sync.membership.report import Report

METADATA = {"name": "alpha", "uid": "it", "resourceVersion": "1", "generation": 1}


def cluster(status: dict[str, Any]) -> Object:
    return msgspec.json.decode(encode({"metadata": METADATA, "status": status}), type=Object)


async def test_a_status_that_the_parent_rejects_is_written_as_soon_as_the_parent_accepts_it() -> None:
    taken: list[dict[str, Any]] = []

    async def script(request: web.Request) -> web.Response:
        if len(gateway.asked) == 1:
            return failure(503, "ServiceUnavailable")
        taken.append((await request.json())["status"])
        return web.json_response({"metadata": METADATA})

    async with Gateway(script) as gateway, gateway.client() as client, asyncio.TaskGroup() as group:
        report = Report(client, cluster({}), Recorder(client))
        running = group.create_task(report.run())
        await report.set_ready(True, "Serving", "all is well")
        assert taken == []
        await eventually_here(lambda: taken, "the status is written")
        assert [condition["reason"] for condition in taken[0]["conditions"]] == ["Serving"]
        running.cancel()


async def test_a_lost_status_is_written_again_and_a_current_one_is_not() -> None:
    taken: list[dict[str, Any]] = []

    async def script(request: web.Request) -> web.Response:
        taken.append((await request.json())["status"])
        return web.json_response({"metadata": METADATA})

    async with Gateway(script) as gateway, gateway.client() as client:
        report = Report(client, cluster({}), Recorder(client))
        await report.set_facts(node_name="alpha", version="v1.37.2", cluster_uid="its")
        await report.set_ready(True, "Serving", "all is well")
        there = taken[0] | taken[1]
        await report.update(cluster(there))
        assert len(taken) == 2
        for lost in ({}, there | {"clusterUid": "x"}, there | {"conditions": []}):
            await report.update(cluster(lost))
            assert taken.pop() == there
