"""The whole process, in the test's own event loop: MemberClusters that change during a shutdown."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import pytest
from aiohttp import web

from tests.cluster import Cluster
from tests.gateway import Gateway, event, stream
from tests.integration.connecting import admin_token
from tests.waiting import eventually_here
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.app import App
from vk_provider.config import Settings
from vk_provider.supervisor import Supervisor
from vk_provider.sync.membership.connection import ReconnectError


class SlowToStop(Supervisor):
    """Serves no member. Stops only after the app has observed all MemberClusters."""

    app: ClassVar[App]
    served: ClassVar[list[tuple[str, int]]]
    stopping: ClassVar[bool]

    async def run(self) -> None:
        self.served.append((self._raw.metadata.name, self._raw.metadata.generation))
        try:
            await asyncio.Event().wait()
        finally:
            SlowToStop.stopping = True
            await eventually_here(lambda: "last" in self.app._clusters.items, "the app has observed the last one")


async def test_deleting_a_member_while_its_earlier_version_stops_does_not_affect_other_members(
    parent: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    SlowToStop.served, SlowToStop.stopping = [], False
    monkeypatch.setattr("vk_provider.app.Supervisor", SlowToStop)

    async def script(request: web.Request) -> web.StreamResponse | None:
        if request.path != MEMBER_CLUSTERS.path() or "watch" not in request.query:
            return None
        answer = web.StreamResponse()
        await answer.prepare(request)
        await answer.write(event("ADDED", member("brief", 1)) + event("ADDED", member("other", 1)) + end(2))
        await eventually_here(lambda: len(SlowToStop.served) == 2, "both members are served")
        await answer.write(event("MODIFIED", member("brief", 3)))
        await eventually_here(lambda: SlowToStop.stopping, "the earlier version is being stopped")
        await answer.write(event("DELETED", member("brief", 4)) + event("ADDED", member("last", 5)))
        await asyncio.Event().wait()
        return answer

    async with (
        Gateway(script, parent.server, f"Bearer {admin_token(parent)}") as gateway,
        gateway.client() as client,
        asyncio.TaskGroup() as group,
    ):
        SlowToStop.app = app = App(client, Settings())
        running = group.create_task(app.run())
        await eventually_here(lambda: ("last", 5) in SlowToStop.served or running.done(), "the next member is served")
        assert SlowToStop.served[-1] == ("last", 5)
        running.cancel()


class Failing(Supervisor):
    """Serves members with a task that fails during the shutdown."""

    serving: ClassVar[bool]

    async def _serve(self) -> None:
        async def fail_at_the_end() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                raise ReconnectError

        async with asyncio.TaskGroup() as group:
            group.create_task(fail_at_the_end())
            Failing.serving = True
            await asyncio.Event().wait()


async def test_a_member_that_fails_during_its_shutdown_still_stops(
    parent: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    Failing.serving = False
    monkeypatch.setattr("vk_provider.app.Supervisor", Failing)

    async def script(request: web.Request) -> web.StreamResponse | None:
        if request.path != MEMBER_CLUSTERS.path() or "watch" not in request.query:
            return None
        return await stream(request, event("ADDED", member("one", 1)), end(2))

    async with (
        Gateway(script, parent.server, f"Bearer {admin_token(parent)}") as gateway,
        gateway.client() as client,
    ):
        running = asyncio.ensure_future(App(client, Settings()).run())
        await eventually_here(lambda: Failing.serving, "the member is served")
        running.cancel()
        await eventually_here(running.done, "the process ends")
        assert running.cancelled()


def member(name: str, version: int) -> dict[str, Any]:
    """A MemberCluster with its version as generation, and with another kubeconfig in each version."""
    spec = {"kubeconfigSecretRef": {"name": str(version), "namespace": "default"}}
    metadata = {"name": name, "uid": f"uid-{name}", "resourceVersion": str(version), "generation": version}
    return {"kind": "MemberCluster", "apiVersion": "vk-provider.io/v1alpha1", "metadata": metadata, "spec": spec}


def end(version: int) -> bytes:
    metadata = {"resourceVersion": str(version), "annotations": {"k8s.io/initial-events-end": "true"}}
    return event("BOOKMARK", {"kind": "MemberCluster", "metadata": metadata})
