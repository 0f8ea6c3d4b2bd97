"""A member that leaves and cannot be served: the objects that the parent keeps, and the report."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.unit.api_server import ApiServer
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, FencedPods, MemberCluster, MemberClusterSpec, SecretRef
from vk_provider.errors import ConfigError, RefusedError, UnreachableError, api_error
from vk_provider.kube.objects import Metadata, encode
from vk_provider.kube.resources import NAMESPACES, NODES, PODS
from vk_provider.sync.membership.abandon import Abandonment, abandon

STATEFUL = {"ownerReferences": [{"kind": "StatefulSet", "name": "db", "controller": True}]}


def west(**annotations: str) -> MemberCluster:
    metadata = Metadata(name="west", uid="mc", annotations=annotations, finalizers=[wellknown.FINALIZER])
    return MemberCluster(metadata, MemberClusterSpec(SecretRef("member-west", wellknown.SYSTEM_NAMESPACE)))


def fenced(*names: str, total: int = 0) -> MemberCluster:
    """A member that was fenced when these pods were on its node."""
    pods = encode(FencedPods(total or len(names), names)).decode()
    return west(**{wellknown.FENCED: "2026-03-01T10:00:00Z", wellknown.FENCED_PODS: pods})


@pytest.fixture
def parent() -> ApiServer:
    server = ApiServer()
    server.put(NAMESPACES, "kube-system", metadata={"uid": "parent-uid"})
    server.put(MEMBER_CLUSTERS, "west", metadata={"uid": "mc", "finalizers": [wellknown.FINALIZER]})
    server.put(NODES, "west", metadata={"labels": {wellknown.CLUSTER_LABEL: "west"}})
    return server


def bind(parent: ApiServer, name: str, **metadata: Any) -> None:
    parent.put(PODS, name, "shop", spec={"nodeName": "west"}, metadata=metadata)


async def test_the_pods_that_may_still_run_are_counted_and_named_with_the_command_that_finds_them(
    parent: ApiServer,
) -> None:
    bind(parent, "web-1")
    bind(parent, "web-2")
    left = await abandon(parent, west())
    assert left.pods == 2
    assert "2 pods may still run in the member: shop/web-1, shop/web-2; " in left.message
    assert "-l vk-provider.io/parent=parent-uid,vk-provider.io/node=west" in left.message
    assert parent.find(NODES, "west") is None
    assert parent.find(PODS, "web-1", "shop") is None


async def test_pods_that_a_fence_has_removed_from_the_parent_are_named_too(parent: ApiServer) -> None:
    bind(parent, "web-1")
    left = await abandon(parent, fenced("shop/db-0", "shop/web-1"))
    assert (left.pods, left.message[:63]) == (2, "2 pods may still run in the member: shop/db-0, shop/web-1; to f")


async def test_of_many_pods_the_first_are_named(parent: ApiServer) -> None:
    left = await abandon(parent, fenced(*(f"shop/db-{number}" for number in range(7)), total=70))
    assert left.pods == 70
    assert "shop/db-4 and 65 more; " in left.message


async def test_a_member_without_pods_leaves_none_behind(parent: ApiServer) -> None:
    left = await abandon(parent, west())
    assert (left.pods, left.message) == (0, "no pods were on virtual node west")


async def test_one_pod_that_must_run_at_most_once_needs_a_fence(parent: ApiServer) -> None:
    bind(parent, "db-0", **STATEFUL)
    with pytest.raises(ConfigError, match=r"^1 pod that must run at most once may still run .* shop/db-0"):
        await abandon(parent, west())
    assert parent.find(NODES, "west")


def leaving() -> MemberCluster:
    found = west()
    return msgspec.structs.replace(
        found, metadata=msgspec.structs.replace(found.metadata, deletion_timestamp="2026-03-01T10:00:00Z")
    )


@pytest.mark.parametrize(
    "error",
    [
        api_error(503, "ServiceUnavailable", "a server restarts"),
        api_error(429, "TooManyRequests", "later"),
        api_error(403, "Forbidden", "a webhook denies the deletion of a pod"),
        UnreachableError("no answer in time"),
        RefusedError("401"),
        KeyError("a defect"),
    ],
)
async def test_a_failure_that_may_pass_does_not_release_a_member_at_once(parent: ApiServer, error: Exception) -> None:
    bind(parent, "web-1")
    abandonment = Abandonment(parent)
    assert not await abandonment.after_failure(leaving(), error, started=100.0, now=101.0)
    assert not await abandonment.after_failure(leaving(), error, started=120.0, now=129.0)
    assert parent.find(PODS, "web-1", "shop")
    assert await abandonment.after_failure(leaving(), error, started=130.0, now=131.0)
    assert parent.find(PODS, "web-1", "shop") is None


async def test_a_member_that_is_declared_wrongly_is_released_at_once(parent: ApiServer) -> None:
    assert await Abandonment(parent).after_failure(leaving(), ConfigError("no"), started=100.0, now=101.0)
