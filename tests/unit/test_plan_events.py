"""A plan of a failover leaves no Events about its shadow pods behind."""

from __future__ import annotations

from tests.unit.api_server import ApiServer
from vk_provider.errors import api_error
from vk_provider.kube.resources import EVENTS
from vk_provider.sync.nodes.plan import SchedulerQuery
from vk_provider.translate.nodes.plan import Plan


async def test_events_about_the_shadows_of_a_plan_are_deleted_and_others_stay() -> None:
    parent = ApiServer()
    for name in ("plan-1a2b-0.18f", "plan-1a2b-1.18f", "plan-ffff-0.18f", "web-1.18f"):
        parent.put(EVENTS, name, "shop")
    query = SchedulerQuery(parent, Plan("1a2b", "west"), [], progress=lambda done: None)
    await query._forget_events("shop")
    assert {path.rpartition("/")[2] for path in parent.objects} == {"plan-ffff-0.18f", "web-1.18f"}


async def test_a_user_who_may_not_delete_events_can_plan_all_the_same() -> None:
    parent = ApiServer()
    parent.put(EVENTS, "plan-1a2b-0.18f", "shop")
    parent.refuses["DELETE"] = api_error(403, "Forbidden", "no")
    await SchedulerQuery(parent, Plan("1a2b", "west"), [], progress=lambda done: None)._forget_events("shop")
    assert parent.asked("DELETE", EVENTS)
