"""What scrapes cost: few requests to a member's nodes, however many nodes and scrapers there are."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.unit import kubelet_answers as kubelet
from tests.unit.scraping import HANGS, NAMES, WEB_1, Api, Nodes, Pods, later, metrics, ours, value, values
from vk_provider.errors import UnreachableError
from vk_provider.kubelet.metrics import MemberMetrics

GOOD = kubelet.resource(WEB_1, cpu=10.0)

pytestmark = pytest.mark.looptime


def asked(api: Api) -> list[str]:
    """The nodes that were asked, in order."""
    return [request.split("/")[4] for request in api.requests]


async def test_a_scrape_shortly_after_another_one_shares_its_answer() -> None:
    """metrics-server and Prometheus scrape the same node."""
    api = Api({"n1": GOOD})
    member = metrics(api)
    first = await member.resource()
    await asyncio.sleep(9)
    assert await member.resource() == first
    assert len(api.requests) == 1
    await asyncio.sleep(2)
    await member.resource()
    assert len(api.requests) == 2


async def test_a_failed_scrape_is_not_shared_with_later_ones() -> None:
    api = Api({"n1": b"?"})
    member = metrics(api)
    with pytest.raises(UnreachableError):
        await member.resource()
    api.answers["n1"] = GOOD
    assert value(await member.resource(), "node_memory_working_set_bytes") == 1_000_000


async def test_only_nodes_with_pods_of_ours_are_asked() -> None:
    api = Api({f"n{i}": kubelet.resource(WEB_1) for i in range(20)})
    another = ours("web-2", "n7", parent="another-parent")
    member = MemberMetrics(api, NAMES, Nodes(api.answers), Pods(), Pods(ours("web-1", "n5"), another))
    text = await member.resource()
    assert asked(api) == ["n5"]
    assert set(values(text, "pod_cpu_usage_seconds_total")) == {("shop", "web-1")}


async def test_a_pod_on_a_node_that_is_gone_causes_no_request() -> None:
    api = Api({"n1": GOOD, "n2": GOOD})
    member = MemberMetrics(api, NAMES, Nodes(api.answers), Pods(), Pods(ours("web-1", "n2"), ours("web-2", "gone")))
    await member.resource()
    assert asked(api) == ["n2"]


async def test_without_pods_one_node_that_answers_stands_for_all() -> None:
    api = Api({"n1": HANGS, "n2": GOOD, "n3": GOOD})
    member = MemberMetrics(api, NAMES, Nodes(api.answers), Pods(), Pods())
    with pytest.raises(UnreachableError):
        await member.resource()
    assert value(await member.resource(), "node_memory_working_set_bytes") == 1_000_000
    assert asked(api) == ["n1", "n2"]


async def test_nodes_take_turns_if_they_are_too_many_and_their_last_answer_counts_until_it_is_their_turn() -> None:
    """16 at a time, 3.5 s each, within 8 s: 32 in one scrape."""
    api = Api({f"n{i:02}": kubelet.resource(cpu=100.0, memory=1000) for i in range(60)}, takes=3.5)
    member = metrics(api)
    counted, memory = [], []
    for scrape in range(5):
        for node in api.answers:
            api.answers[node] = kubelet.resource(cpu=100.0 + 10 * scrape, memory=1000)
        text = await member.resource()
        counted.append(value(text, "node_cpu_usage_seconds_total"))
        memory.append(value(text, "node_memory_working_set_bytes"))
        await later()
    assert memory[1:] == [60_000.0] * 4
    assert all(after > before for before, after in itertools.pairwise(counted))
    assert (member.skipped, value(text, "resource_scrape_error")) == (60 - 32, 0)  # those of the first scrape


async def test_a_scrape_that_is_being_cancelled_is_not_shared() -> None:
    """The last reader leaves, and another one comes before the scrape has ended."""
    api = Api({"n1": GOOD})
    member = metrics(api)
    first = asyncio.create_task(member.resource())
    await asyncio.sleep(0.05)
    first.cancel()
    await asyncio.sleep(0)  # the reader has left; its scrape is being cancelled
    assert b"node_cpu_usage_seconds_total" in await member.resource()
    assert api.abandoned == 1
