"""How copies are kept: bounded watches, polls, tokens of pods that end, replaced singletons, held orphans."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from tests.unit.dependents_world import NAMES, bound, with_volume, world
from tests.unit.objects_server import Json, ObjectServer
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, NODES, PODS, SECRETS, SERVICE_ACCOUNTS
from vk_provider.sync.dependents import sources
from vk_provider.sync.dependents.sources import WATCHES_OF_A_POD, WatchLimit
from vk_provider.translate.dependents import copies as translated

pytestmark = pytest.mark.looptime

COPY = NAMES.copy("conf")
MOUNT = with_volume(configMap={"name": "conf", "optional": True})
TOKEN = with_volume(projected={"sources": [{"serviceAccountToken": {"path": "token"}}]})
TOKENS = NAMES.token_secret("web", "p-web")


def servers() -> tuple[ObjectServer, ObjectServer]:
    parent, member = ObjectServer(), ObjectServer()
    parent.put(NAMESPACES, "shop")
    member.put(NAMESPACES, "shop")
    return parent, member


def many(count: int) -> Json:
    sources = [{"configMap": {"name": f"conf-{number:03}", "optional": True}} for number in range(count)]
    return with_volume(projected={"sources": sources})


async def test_objects_that_do_not_exist_are_polled_with_growing_pauses_and_not_watched() -> None:
    parent, member = servers()
    bound(parent, "web", spec=many(100))
    async with world(parent, member):
        await asyncio.sleep(60)
        assert parent.watching["configmaps"] == 0
        before = parent.requests["get", "configmaps"]
        await asyncio.sleep(600)
        assert parent.requests["get", "configmaps"] - before <= 100 * 13, "about once a minute each"
        parent.put(CONFIG_MAPS, "conf-099", "shop", data={"a": "1"})
        await asyncio.sleep(80)
        assert member.names(CONFIG_MAPS, "shop") == {NAMES.copy("conf-099")}


async def test_an_object_that_comes_soon_after_its_pod_is_found_soon() -> None:
    parent, member = servers()
    bound(parent, "web", spec=MOUNT)
    async with world(parent, member):
        await asyncio.sleep(1)
        parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
        await asyncio.sleep(2)
        assert member.names(CONFIG_MAPS, "shop") == {COPY}
        assert parent.watching["configmaps"] == 1, "it exists, so it is watched"
        parent.remove(CONFIG_MAPS, "conf", "shop")
        await asyncio.sleep(0.1)
        assert not member.names(CONFIG_MAPS, "shop")
        parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "2"})
        await asyncio.sleep(1)
        copy = member.find(CONFIG_MAPS, COPY, "shop")
        assert copy and copy["data"] == {"a": "2"}


async def test_a_pod_has_a_bounded_number_of_watches_and_the_rest_of_its_objects_follow_within_a_minute() -> None:
    parent, member = servers()
    for number in range(100):
        parent.put(CONFIG_MAPS, f"conf-{number:03}", "shop", data={"a": "1"})
    bound(parent, "web", spec=many(100))
    async with world(parent, member):
        await asyncio.sleep(30)
        assert len(member.names(CONFIG_MAPS, "shop")) == 100
        assert parent.watching["configmaps"] == WATCHES_OF_A_POD
        parent.put(CONFIG_MAPS, "conf-099", "shop", data={"a": "2"})
        await asyncio.sleep(80)
        copy = member.find(CONFIG_MAPS, NAMES.copy("conf-099"), "shop")
        assert copy and copy["data"] == {"a": "2"}
        parent.remove(PODS, "web", "shop")
        await asyncio.sleep(80)
        assert parent.watching["configmaps"] == 0
        assert not member.names(CONFIG_MAPS, "shop")


async def test_all_members_together_have_a_bounded_number_of_watches_and_a_free_one_is_used(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.unit.pod_loop_parts.WatchLimit", lambda: WatchLimit(2))
    parent, member = servers()
    for name in ("a", "b", "c"):
        parent.put(CONFIG_MAPS, name, "shop", data={"a": "1"})
        bound(parent, f"pod-{name}", spec=with_volume(configMap={"name": name}))
    async with world(parent, member) as running:
        await asyncio.sleep(30)
        assert len(member.names(CONFIG_MAPS, "shop")) == 3
        assert (parent.watching["configmaps"], running.watches.used) == (2, 2)
        assert running.watches.reads > 0
        parent.remove(PODS, "pod-a", "shop")
        parent.remove(PODS, "pod-b", "shop")
        await asyncio.sleep(120)
        assert (parent.watching["configmaps"], running.watches.used) == (1, 1)
    await asyncio.sleep(1)
    assert running.watches.used == 0, "they go with the member"


async def test_a_digest_is_computed_once_for_each_version(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[str] = []
    original_of = translated.original_of

    def counted(payload: Any) -> Any:
        computed.append(payload.metadata.name)
        return original_of(payload)

    monkeypatch.setattr(sources, "original_of", counted)
    parent, member = servers()
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    for number in range(20):
        bound(parent, f"web-{number}", spec=MOUNT)
    async with world(parent, member):
        await asyncio.sleep(30)
        assert len(member.names(PODS, "shop")) == 20
    assert computed == ["conf"]


async def test_the_tokens_of_a_pod_that_has_finished_are_deleted_and_not_renewed() -> None:
    parent, member = servers()
    bound(parent, "web", spec=TOKEN | {"restartPolicy": "Never"})
    async with world(parent, member):
        await asyncio.sleep(5)
        assert member.names(SECRETS, "shop") == {TOKENS}
        made = member.find(PODS, "web", "shop")
        assert made
        member.put(PODS, "web", "shop", **{**made, "status": {"phase": "Succeeded"}})
        ended = parent.find(PODS, "web", "shop")
        assert ended
        parent.put(PODS, "web", "shop", **{**ended, "status": {"phase": "Succeeded"}})
        await asyncio.sleep(5)
        assert not member.names(SECRETS, "shop")
        parent.now += timedelta(hours=2)
        await asyncio.sleep(7200)
        assert parent.requests["post/token", "serviceaccounts"] == 1
        assert member.names(PODS, "shop") == {"web"}, "it stays, for its logs"


async def test_nothing_is_brought_for_a_pod_that_had_finished_before_the_start() -> None:
    parent, member = servers()
    bound(parent, "web", spec=TOKEN | {"restartPolicy": "Never"}, status={"phase": "Failed"})
    async with world(parent, member):
        await asyncio.sleep(60)
    assert not member.names(SECRETS, "shop")
    assert parent.requests["post/token", "serviceaccounts"] == 0


async def test_what_a_pod_needed_that_was_replaced_within_one_list_is_released() -> None:
    parent, member = servers()
    bound(parent, "web", spec=TOKEN)
    async with world(parent, member):
        await asyncio.sleep(5)
        assert member.names(SECRETS, "shop") == {TOKENS}
        bound(parent, "web", spec=TOKEN, metadata={"uid": "p-other"})  # a modification for the watch, as after a list
        await asyncio.sleep(60)
        assert member.names(SECRETS, "shop") == {NAMES.token_secret("web", "p-other")}


async def test_nothing_stays_registered_for_a_pod_that_was_deleted_while_it_was_prepared() -> None:
    parent, member = servers()
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    async with world(parent, member):
        bound(parent, "web", spec=MOUNT)
        await asyncio.sleep(0)  # its worker starts
        for _ in range(20):
            await asyncio.sleep(0)
            if parent.requests["watch", "configmaps"]:
                break
        parent.remove(PODS, "web", "shop")
        await asyncio.sleep(120)
        assert parent.watching["configmaps"] == 0
        assert not member.names(CONFIG_MAPS, "shop") and not member.names(PODS, "shop")


async def test_a_singleton_that_is_replaced_again_and_again_never_waits_for_its_copies() -> None:
    parent, member = servers()
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    async with world(parent, member) as running:
        for number in range(40):
            bound(parent, f"db-{number}", spec=MOUNT)
            await asyncio.sleep(0.7)
            assert f"db-{number}" in member.names(PODS, "shop")
            parent.remove(PODS, f"db-{number}", "shop")
            await asyncio.sleep(0.3)
        assert running.reasons() == set()
        assert member.requests["post", "configmaps"] == 1, "the copy stays for a while"
        await asyncio.sleep(60)
        assert not member.names(CONFIG_MAPS, "shop")


@pytest.mark.parametrize("after", [number / 64 for number in range(12)])
async def test_a_copy_that_is_needed_again_while_it_is_deleted_is_created_once(
    after: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vk_provider.sync.dependents.dependents.LINGER", 0.0)
    parent, member = servers()
    member.latency = 1 / 16
    parent.put(CONFIG_MAPS, "conf", "shop", data={"a": "1"})
    async with world(parent, member) as running:
        bound(parent, "db-0", spec=MOUNT)
        await asyncio.sleep(1)
        running.dependents.release("p-db-0")
        await asyncio.sleep(after)
        bound(parent, "db-1", spec=MOUNT)
        await asyncio.sleep(20)
        assert member.names(CONFIG_MAPS, "shop") == {COPY}
        assert member.requests["post", "configmaps"] == 2
        assert running.reasons() == set()


async def test_certificates_of_pods_that_the_brake_holds_are_kept() -> None:
    parent, member = servers()
    parent.put(NODES, "alpha")
    parent.put(SERVICE_ACCOUNTS, "default", "shop")
    pod = bound(parent, "web")["metadata"]
    secret = NAMES.certificate_secret("web", pod["uid"])
    annotations = {
        "vk-provider.io/parent-uid": pod["uid"],
        "vk-provider.io/parent-namespace": "shop",
        "vk-provider.io/parent-name": "web",
        "vk-provider.io/certificates-renew": "2026-03-01T20:00:00Z",
    }
    parent.remove(PODS, "web", "shop")
    member.put(SECRETS, secret, "shop", metadata={"labels": NAMES.labels, "annotations": annotations})
    async with world(parent, member, held=True) as running:
        await asyncio.sleep(30)
        assert member.names(SECRETS, "shop") == {secret}
        running.state.hold_orphans("another", held=False)
        await asyncio.sleep(30)
        assert not member.names(SECRETS, "shop")
