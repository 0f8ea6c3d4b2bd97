"""A namespace of ours in a member is deleted after the parent's, and only if no other client keeps objects there."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.dependents_world import NAMES, world
from tests.unit.objects_server import ObjectServer
from vk_provider.api import wellknown
from vk_provider.errors import api_error
from vk_provider.kube.resources import (
    CONFIG_MAPS,
    NAMESPACES,
    PERSISTENT_VOLUME_CLAIMS,
    PODS,
    SECRETS,
    SERVICES,
    Resource,
)

pytestmark = pytest.mark.looptime

OURS: dict[str, Any] = {"labels": NAMES.labels, "annotations": {wellknown.PARENT_NAME: "shop"}}


def servers() -> tuple[ObjectServer, ObjectServer]:
    """A parent that has deleted namespace shop, and a member that has it still."""
    parent, member = ObjectServer(), ObjectServer()
    member.put(NAMESPACES, "shop", metadata=OURS)
    member.put(CONFIG_MAPS, "kube-root-ca.crt", "shop")
    return parent, member


async def test_one_with_nothing_in_it_but_what_kubernetes_makes_is_deleted() -> None:
    parent, member = servers()
    async with world(parent, member):
        await asyncio.sleep(30)
    assert not member.names(NAMESPACES)


@pytest.mark.parametrize("resource", [PODS, PERSISTENT_VOLUME_CLAIMS, CONFIG_MAPS, SECRETS, SERVICES])
async def test_one_in_which_another_client_keeps_something_stays_and_an_event_has_the_cause(resource: Resource) -> None:
    parent, member = servers()
    member.put(resource, "theirs", "shop", spec={}, status={"phase": "Succeeded"})
    async with world(parent, member) as running:
        await asyncio.sleep(600)
        assert member.names(NAMESPACES) == {"shop"}
        ((reason, message),) = running.events
        assert reason == wellknown.NAMESPACE_KEPT
        assert f"{resource.kind} theirs" in message
        assert member.requests["list", "persistentvolumeclaims"] < 10, "it is not looked at all the time"
        member.remove(resource, "theirs", "shop")
        await asyncio.sleep(600)
        assert not member.names(NAMESPACES), "it goes when that is gone"


async def test_one_whose_claims_may_not_be_listed_stays_and_an_event_names_the_right() -> None:
    parent, member = servers()
    forbidden = api_error(403, "Forbidden", "cannot list persistentvolumeclaims")
    member.refuse = lambda verb, type, _: forbidden if (verb, type) == ("list", "persistentvolumeclaims") else None
    async with world(parent, member) as running:
        await asyncio.sleep(600)
        ((reason, message),) = running.events
    assert member.names(NAMESPACES) == {"shop"}
    assert reason == wellknown.NAMESPACE_KEPT
    assert "manifests/member/rbac.yaml" in message


async def test_one_that_was_in_use_until_now_is_deleted_before_the_member_leaves() -> None:
    parent, member = servers()
    deleted = {"deletionTimestamp": "2026-03-01T10:00:00Z", "deletionGracePeriodSeconds": 30}
    member.put(PODS, "web", "shop", metadata={"labels": NAMES.labels, "annotations": {}, **deleted}, spec={}, status={})
    async with world(parent, member) as running:
        await asyncio.sleep(1)
        await running.dependents.delete_namespaces()
        assert member.names(NAMESPACES) == {"shop"}, "a pod of ours still runs there"
        member.remove(PODS, "web", "shop")
        await asyncio.sleep(0.1)
        assert member.names(NAMESPACES) == {"shop"}, "its loop looks again later"
        await running.dependents.delete_namespaces()
        assert not member.names(NAMESPACES)


async def test_one_whose_deletion_is_refused_does_not_keep_a_member_from_leaving() -> None:
    parent, member = servers()
    forbidden = api_error(403, "Forbidden", "a policy of the member denies it")
    member.refuse = lambda verb, type, _: forbidden if (verb, type) == ("delete", "namespaces") else None
    async with world(parent, member) as running:
        await running.dependents.delete_namespaces()
    assert member.names(NAMESPACES) == {"shop"}
