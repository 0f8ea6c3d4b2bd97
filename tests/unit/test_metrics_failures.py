"""Metrics of nodes that fail, restart or do not answer, and concurrent scrapes."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.unit import kubelet_answers as kubelet
from tests.unit.scraping import HANGS, WEB_1, Api, later, metrics, ours, value, values
from vk_provider.errors import ApiError, UnreachableError

pytestmark = pytest.mark.looptime


GOOD = kubelet.resource(WEB_1, cpu=10.0)
BROKEN = {
    "gone": UnreachableError("https://member: no answer in time"),
    "refused": ApiError(503, "ServiceUnavailable", "error trying to reach service: dial tcp: i/o timeout"),
    "hanging": HANGS,
    "html": b"<html><body>Bad Gateway</body></html>\n",
    "json": b'{"kind":"Status","code":500}\n',
    "half a line": GOOD[: GOOD.rfind(b'"}') - 4],
    "cut within a number": GOOD[:-1].removesuffix(b"0"),
    "cut after a number": GOOD[:-1],
    "bytes": b"\xff\xfe\x00\n",
    "no value": b"node_cpu_usage_seconds_total\n",
    "a word as value": b"node_cpu_usage_seconds_total many\n",
    "too many numbers": b"node_cpu_usage_seconds_total 1 2 3\n",
    "a number of Python's": b"node_cpu_usage_seconds_total 1_000\n",
    "a number beyond floats": b"node_cpu_usage_seconds_total 1e999\n",
    "a time beyond 64 bits": b"node_cpu_usage_seconds_total 1 99999999999999999999\n",
    "an open label": b'x{pod="a,namespace="b"} 1\n',
    "an open brace": b'x{pod="a" 1\n',
    "an unknown type": b"# TYPE node_cpu_usage_seconds_total speed\nnode_cpu_usage_seconds_total 1\n",
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_a_node_with_an_unusable_answer_is_skipped_and_counted(answer: bytes | Exception | None) -> None:
    member = metrics(Api({"n1": answer, "n2": GOOD}), ours("web-1", "n2"))
    text = await member.resource()
    assert member.skipped == 1
    assert set(values(text, "pod_cpu_usage_seconds_total")) == {("shop", "web-1")}
    assert value(text, "node_memory_working_set_bytes") == 1_000_000


async def test_a_skipped_node_is_a_scrape_error() -> None:
    assert value(await metrics(Api({"n1": GOOD})).resource(), "resource_scrape_error") == 0
    assert value(await metrics(Api({"n1": GOOD, "n2": b"?"})).resource(), "resource_scrape_error") == 1


async def test_a_node_that_does_not_answer_does_not_exceed_the_timeout_of_metrics_server() -> None:
    """metrics-server waits 10 s."""
    started = asyncio.get_running_loop().time()
    await metrics(Api({"n1": HANGS, "n2": GOOD})).resource()
    assert asyncio.get_running_loop().time() - started < 8.5


async def test_nodes_that_do_not_answer_do_not_prevent_requests_to_the_others() -> None:
    """Not even if they use all slots of the first scrape."""
    api = Api({f"a{i}": HANGS for i in range(40)} | {f"b{i}": GOOD for i in range(40)})
    member = metrics(api)
    with pytest.raises(UnreachableError):
        await member.resource()  # the nodes without an answer use all slots
    await later()
    await member.resource()
    assert member.skipped == 80 + 40


async def test_a_scrape_without_any_usable_answer_fails_with_the_reason() -> None:
    member = metrics(Api({"n1": BROKEN["refused"], "n2": b"?"}))
    with pytest.raises(UnreachableError, match=r"none of the 2 nodes .* n1: error trying to reach service"):
        await member.resource()


async def test_a_member_without_nodes_has_no_metrics() -> None:
    assert await metrics(Api({})).resource() == b""


async def test_a_node_that_starts_to_fail_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    member = metrics(Api({"n1": b"?", "n2": GOOD}))
    await member.resource()
    await later()
    await member.resource()
    assert [vars(record)["member_node"] for record in caplog.records] == ["n1"]


@pytest.mark.parametrize("during", [b"?", HANGS, kubelet.resource(cpu=1.0)], ids=["skipped", "hangs", "restarted"])
async def test_the_cpu_counter_of_the_node_never_decreases_nor_jumps(during: bytes | None) -> None:
    """metrics-server rejects a counter that decreases, and shows a jump as usage."""
    api = Api({"n1": kubelet.resource(cpu=1000.0), "n2": kubelet.resource(cpu=10.0)})
    member = metrics(api)
    counted = [value(await member.resource(), "node_cpu_usage_seconds_total")]
    for answer in (during, kubelet.resource(cpu=2000.0), kubelet.resource(cpu=2005.0)):
        api.answers["n1"] = answer
        await later()
        counted.append(value(await member.resource(), "node_cpu_usage_seconds_total"))
    grown = [after - before for before, after in itertools.pairwise(counted)]
    assert counted[0] == 1010.0
    assert all(growth >= 0 for growth in grown)
    assert grown[-1] == 5.0


async def test_concurrent_scrapes_share_one_request() -> None:
    api = Api({"n1": GOOD})
    member = metrics(api)
    one, other = await asyncio.gather(member.resource(), member.resource())
    assert one == other and len(api.requests) == 1


async def test_a_later_scrape_sends_another_request() -> None:
    api = Api({"n1": GOOD})
    member = metrics(api)
    await member.resource()
    await later()
    await member.resource()
    assert len(api.requests) == 2


async def test_a_client_that_disconnects_does_not_cancel_the_scrape_of_others() -> None:
    member = metrics(Api({"n1": GOOD}))
    first, second = asyncio.create_task(member.resource()), asyncio.create_task(member.resource())
    await asyncio.sleep(0.05)
    first.cancel()
    assert b"node_cpu_usage_seconds_total" in await second


async def test_a_scrape_without_clients_is_cancelled() -> None:
    api = Api({"n1": HANGS})
    scrape = asyncio.create_task(metrics(api).resource())
    await asyncio.sleep(0.05)
    scrape.cancel()
    await asyncio.sleep(0.05)
    assert api.abandoned == 1


async def test_a_large_answer_is_read_in_short_steps() -> None:
    """Other tasks of the process run in between: one of them counts its turns here."""
    lines = b"".join(
        b'x{pod="p%d",namespace="n",id="/a/b/c",name="%064d"} 1 1795479175507\n' % (i, i) for i in range(20000)
    )
    member = metrics(Api({"n1": lines}, takes=0))
    scrape = asyncio.create_task(member.resource())
    turns = 0
    while not scrape.done():
        turns += 1
        await asyncio.sleep(0)
    assert turns > len(lines) / 70_000
