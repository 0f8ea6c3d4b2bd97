"""What is reported of a member reaches the parent, also if the task that writes it is cancelled."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.memory_cluster import MemoryCluster
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.objects import Object
from vk_provider.kube.recorder import Recorder
from vk_provider.sync.membership.report import Report

pytestmark = pytest.mark.looptime


async def test_a_cancelled_write_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    parent = MemoryCluster("parent", "parent-uid")
    parent.put(MEMBER_CLUSTERS, "west", spec={}, status={}, metadata={"generation": 1})
    client: Any = parent.client()
    report = Report(client, await client.get(MEMBER_CLUSTERS, "west", type=Object), Recorder(client))
    patch, hangs = client.patch, asyncio.Event()

    async def hanging(*_: Any, **__: Any) -> None:
        hangs.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(client, "patch", hanging)
    writing = asyncio.create_task(report.set_ready(True, "Serving", "it is served"))
    await hangs.wait()
    writing.cancel()
    await asyncio.wait([writing])
    monkeypatch.setattr(client, "patch", patch)
    running = asyncio.create_task(report.run())
    await asyncio.sleep(5.0)
    conditions = parent.find(MEMBER_CLUSTERS, "west")["status"]["conditions"]
    assert [(each["type"], each["status"]) for each in conditions] == [("Ready", "True")]
    running.cancel()
