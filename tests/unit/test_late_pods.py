"""Pods that are bound to the node of a member that leaves are not created there, and can be deleted."""

from __future__ import annotations

from contextlib import suppress

from tests.unit.test_way_of_a_pod import SCHEDULED, SPEC, Server, served
from tests.waiting import eventually_here
from vk_provider.kube.resources import PODS


async def test_a_late_pod_is_not_created_and_one_that_is_deleted_is_removed_from_the_parent() -> None:
    above, below = Server(), Server()
    status = {"phase": "Pending", "conditions": [SCHEDULED]}
    late = {"name": "late", "namespace": "shop", "uid": "p-late", "resourceVersion": "5"}
    deleted = {"name": "next", "namespace": "shop", "uid": "p-next", "resourceVersion": "6"}
    with suppress(ExceptionGroup):
        async with served(above, below, leaving=True):
            above.feed("ADDED", late, spec=SPEC, status=status)
            above.feed("ADDED", deleted | {"deletionTimestamp": "2026-03-01T10:00:30Z"}, spec=SPEC, status=status)
            await eventually_here(lambda: above.written, "the only worker has processed the second pod")
    (method, path, options), *others = above.written
    assert (method, path, others) == ("DELETE", PODS.path("next", "shop"), [])
    assert options["gracePeriodSeconds"] == 0
    assert below.written == []
