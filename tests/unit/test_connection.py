"""The kubeconfig of a member while it is served: credentials that change, expire, disappear, and lead elsewhere."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.unit.memory_cluster import MemoryCluster
from tests.unit.supervised import SYSTEM, kubeconfig
from vk_provider.api.membercluster import SecretRef
from vk_provider.errors import RefusedError, UnreachableError, api_error
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.resources import NAMESPACES, PODS, SECRETS, SELF_SUBJECT_ACCESS_REVIEWS
from vk_provider.sync.membership.connection import Connection, ReconnectError

pytestmark = pytest.mark.looptime


class World:
    """A parent with the Secret, the member, and another cluster; and a connection that is made with token `one`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.parent, self.member = MemoryCluster("parent", "parent-uid"), MemoryCluster("west", "west-uid")
        self.other = MemoryCluster("other", "west-uid")
        self.member.tokens = {"one"}
        self.put(kubeconfig(self.member.server, "one"))
        clusters = {cluster.server: cluster for cluster in (self.member, self.other)}
        monkeypatch.setattr(
            "vk_provider.sync.membership.connection.Client",
            lambda credentials: clusters[credentials.server].client(credentials),
        )
        self.connection = Connection(self.parent.client(), SecretRef("west", SYSTEM), "west", "west-uid")
        self.running: asyncio.Task[None]

    def put(self, content: str) -> None:
        self.parent.put(SECRETS, "west", SYSTEM, data={"kubeconfig": content})

    @property
    def reconnects(self) -> bool:
        if not self.running.done():
            return False
        error: Any = self.running.exception()
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, ReconnectError)
        return True

    async def token(self) -> str:
        return (await self.connection.client.credentials.authorization() or "").removeprefix("Bearer ")

    async def probe(self) -> None:
        await self.connection.probe(deadline=2.0)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[None]:
        self.running = asyncio.create_task(self.connection.run())
        async with self.connection:
            await self.connection.connect(asyncio.Semaphore(1))
            yield
        self.running.cancel()
        await asyncio.wait([self.running])


async def test_another_token_is_used_without_a_list_and_without_another_client(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    async with world.connected():
        client = world.connection.client
        pods: Informer[Pod] = Informer(client, PODS, Pod)
        watching = asyncio.create_task(pods.run())
        await pods.synced.wait()
        world.member.tokens = {"one", "two"}
        world.put(kubeconfig(world.member.server, "two"))
        await asyncio.sleep(5.0)
        world.member.tokens = {"two"}
        world.member.put(PODS, "web", "shop", spec={}, status={})
        await asyncio.sleep(5.0)
        assert not world.reconnects
        assert world.connection.client is client
        assert await world.token() == "two"
        assert world.member.lists == [PODS.path()]
        assert list(pods.items) == ["shop/web"], "the watch resumes with the new token"
        await world.probe()
        watching.cancel()


async def test_a_token_that_is_not_accepted_is_reported_and_tried_again_while_the_old_one_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    async with world.connected():
        world.put(kubeconfig(world.member.server, "two"))
        await asyncio.sleep(5.0)
        with pytest.raises(RefusedError, match="does not accept the credential"):
            await world.probe()
        assert await world.token() == "one"
        world.member.tokens = {"one", "two"}
        await asyncio.sleep(15.0)
        await world.probe()
        assert await world.token() == "two"
        assert not world.reconnects


@pytest.mark.parametrize("content", ["", base64.b64encode(b"not a kubeconfig").decode()])
async def test_a_secret_without_a_kubeconfig_is_reported_until_it_has_one_again(
    monkeypatch: pytest.MonkeyPatch, content: str
) -> None:
    world = World(monkeypatch)
    async with world.connected():
        if content:
            world.put(content)
        else:
            world.parent.remove(SECRETS, "west", SYSTEM)
        await asyncio.sleep(1.0)
        with pytest.raises(RefusedError) as refused:
            await world.probe()
        assert refused.value.reason == ("KubeconfigInvalid" if content else "SecretNotFound")
        assert not refused.value.answered
        world.put(kubeconfig(world.member.server, "one"))
        await asyncio.sleep(1.0)
        await world.probe()
        assert not world.reconnects


async def test_a_member_that_is_silent_is_silent_also_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    async with world.connected():
        world.parent.remove(SECRETS, "west", SYSTEM)
        world.member.silent = True
        with pytest.raises(UnreachableError):
            await world.probe()


async def test_a_new_credential_waits_for_a_member_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    async with world.connected():
        world.member.silent, world.member.tokens = True, {"two"}
        world.put(kubeconfig(world.member.server, "two"))
        await asyncio.sleep(60.0)
        with pytest.raises(UnreachableError):
            await world.probe()
        world.member.silent = False
        await asyncio.sleep(30.0)
        await world.probe()
        assert not world.reconnects


async def test_a_certificate_of_an_unknown_authority_in_the_new_kubeconfig_is_reported(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    async with world.connected():
        world.member.refusal = UnreachableError("unknown authority", reason="CertificateInvalid")
        world.put(kubeconfig(world.member.server, "two"))
        await asyncio.sleep(5.0)
        world.member.refusal = None
        with pytest.raises(RefusedError) as refused:
            await world.probe()
        assert refused.value.reason == "CertificateInvalid"


async def test_another_server_needs_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    async with world.connected():
        world.put(kubeconfig(world.other.server, "one"))
        await asyncio.sleep(1.0)
        assert world.reconnects


async def test_another_cluster_behind_the_same_server_needs_another_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    async with world.connected():
        world.member.tokens = {"one", "two"}
        world.member.put(NAMESPACES, "kube-system", metadata={"uid": "another"})
        world.put(kubeconfig(world.member.server, "two"))
        await asyncio.sleep(1.0)
        assert world.reconnects


async def test_other_permissions_need_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    async with world.connected():
        world.member.tokens, world.member.denied = {"one", "two"}, {("events", "list")}
        world.put(kubeconfig(world.member.server, "two"))
        await asyncio.sleep(1.0)
        assert world.reconnects


async def test_a_permission_that_is_granted_later_needs_another_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch)
    world.member.denied = {("events", "list")}
    async with world.connected():
        await asyncio.sleep(600.0)
        assert not world.reconnects
        world.member.denied = set()
        await asyncio.sleep(61.0)
        assert world.reconnects


class Refused:
    """A list that is not permitted any more."""

    failure = (0.0, api_error(403, "Forbidden", "no"))


async def test_a_permission_of_a_feature_that_is_withdrawn_needs_another_connection(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    async with world.connected():
        lists: Any = [Refused()]
        world.connection.optional = lists
        await asyncio.sleep(200.0)
        assert not world.reconnects, "the permissions are as they were"
        world.member.denied = {("pods", "create")}
        await asyncio.sleep(200.0)
        assert not world.reconnects, "without an essential permission the member could not be served at all"
        world.member.denied = {("leases", "list")}
        await asyncio.sleep(61.0)
        assert world.reconnects


async def test_a_member_that_lacks_nothing_is_not_asked_for_its_permissions_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    async with world.connected():
        review = ("POST", SELF_SUBJECT_ACCESS_REVIEWS.path())
        asked = world.member.requests.count(review)
        await asyncio.sleep(3600.0)
        assert world.member.requests.count(review) == asked > 0


async def test_a_secret_that_the_parent_does_not_show_is_a_refusal_with_the_cause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch)
    world.parent.refusal = api_error(403, "Forbidden", "secrets is forbidden")
    world.running = asyncio.create_task(world.connection.run())
    for ask in (world.probe, lambda: world.connection.connect(asyncio.Semaphore(1))):
        with pytest.raises(RefusedError, match="does not show secret vk-provider-system/west: secrets is forbidden"):
            await ask()
    world.parent.refusal = None
    await asyncio.sleep(60.0)
    await world.connection.connect(asyncio.Semaphore(1))
    await world.probe()
    world.running.cancel()
    await asyncio.wait([world.running])
