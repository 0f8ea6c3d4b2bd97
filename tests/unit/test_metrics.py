"""The metrics of a member's nodes become the metrics of one virtual node."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Mapping
from typing import Any

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.unit import kubelet_answers as kubelet
from tests.unit.pods import PARENT, pod
from vk_provider.api import wellknown
from vk_provider.errors import ApiError, UnreachableError
from vk_provider.kube.objects import Pod
from vk_provider.kubelet.metrics import MemberMetrics
from vk_provider.translate.names import Names

pytestmark = pytest.mark.looptime

NAMES = Names("member-a", PARENT, prefix="east-")
WEB_1, WEB_2 = ("east-shop", "web-1"), ("east-shop", "web-2")
HANGS = None  # stands for an answer that never arrives


class Api:
    """The member's API server. `answers`: member node -> its answer to every request, after `takes` seconds."""

    def __init__(self, answers: Mapping[str, bytes | Exception | None], *, takes: float = 0.1) -> None:
        self.answers, self.takes = dict(answers), takes
        self.requests: list[str] = []
        self.abandoned = 0

    async def request(self, method: str, path: str, *, deadline: float) -> bytes:
        self.requests.append(f"{method} {path}")
        answer = self.answers[path.split("/")[4]]
        try:
            await asyncio.sleep(self.takes if answer is not HANGS else 1e6)
        except asyncio.CancelledError:
            self.abandoned += 1
            raise
        if isinstance(answer, Exception):
            raise answer
        return answer or b""


class Pods:
    """The informer's member pods."""

    def __init__(self, *pods: Pod) -> None:
        self.items = {pod.metadata.key: pod for pod in pods}


class Nodes:
    """The informer's member nodes: those with an answer."""

    def __init__(self, answers: Mapping[str, object]) -> None:
        self.items = answers


def ours(name: str, node: str, parent: str = PARENT) -> Pod:
    annotations = {wellknown.PARENT_UID: f"p-{name}", wellknown.PARENT_NAMESPACE: "shop", wellknown.PARENT_NAME: name}
    labels = {wellknown.PARENT_LABEL: parent, wellknown.NODE_LABEL: "member-a"}
    return pod(
        {"nodeName": node}, name=name, uid=f"m-{name}", namespace="east-shop", labels=labels, annotations=annotations
    )


def metrics(api: Api, *pods: Pod) -> MemberMetrics:
    return MemberMetrics(api, NAMES, Nodes(api.answers), Pods(*pods))


def families(text: bytes) -> dict[str, Metric]:
    parsed = list(text_string_to_metric_families(text.decode()))
    assert len({family.name for family in parsed}) == len(parsed), "every family occurs once"
    return {family.name: family for family in parsed}


def values(text: bytes, sample: str) -> dict[tuple[str, ...], float]:
    """The samples with a name: namespace, pod, container and id -> value."""
    return {
        tuple(s.labels[key] for key in ("namespace", "pod", "container", "id") if s.labels.get(key)): s.value
        for family in families(text).values()
        for s in family.samples
        if s.name == sample
    }


def value(text: bytes, sample: str) -> float:
    (one,) = values(text, sample).values()
    return one


async def test_metrics_of_member_pods_have_the_names_of_the_parent_pods() -> None:
    api = Api({"n1": kubelet.resource(WEB_1), "n2": kubelet.resource(WEB_2)})
    text = await metrics(api, ours("web-1", "n1"), ours("web-2", "n2")).resource()
    assert values(text, "container_memory_working_set_bytes") == {
        ("shop", "web-1", "app"): 946176.0,
        ("shop", "web-2", "app"): 946176.0,
    }
    assert api.requests == [f"GET /api/v1/nodes/n{i}/proxy/metrics/resource" for i in (1, 2)]


async def test_pods_of_other_parents_and_users_are_omitted() -> None:
    another = ours("web-2", "n1", parent="another-parent")
    text = await metrics(Api({"n1": kubelet.resource(WEB_1, WEB_2)}), ours("web-1", "n1"), another).resource()
    assert set(values(text, "pod_cpu_usage_seconds_total")) == {("shop", "web-1")}


async def test_a_pod_counts_only_on_the_node_that_it_is_bound_to() -> None:
    api = Api({"n1": kubelet.resource(WEB_1), "n2": kubelet.resource(WEB_1)})  # n1 still reports it
    text = await metrics(api, ours("web-1", "n2")).resource()
    assert text.count(b"pod_cpu_usage_seconds_total{") == 1


async def test_values_of_the_node_are_sums_at_the_newest_time() -> None:
    first, second = kubelet.resource(cpu=100.25, memory=1000, at=5000), kubelet.resource(cpu=7.5, memory=234, at=6000)
    found = families(await metrics(Api({"n1": first, "n2": second})).resource())
    (cpu,) = found["node_cpu_usage_seconds"].samples
    (memory,) = found["node_memory_working_set_bytes"].samples
    assert (cpu.value, cpu.timestamp) == (107.75, 6.0)
    assert (memory.value, memory.timestamp) == (1234.0, 6.0)


async def test_everything_that_metrics_server_reads_is_present() -> None:
    """Names and labels are from its pkg/scraper/client/resource/decode.go; no counter may be zero."""
    text = await metrics(Api({"n1": kubelet.resource(WEB_1)}), ours("web-1", "n1")).resource()
    for name in ("node_cpu_usage_seconds_total", "node_memory_working_set_bytes"):
        assert value(text, name) > 0
    for name in ("cpu_usage_seconds_total", "memory_working_set_bytes", "start_time_seconds"):
        assert values(text, f"container_{name}")["shop", "web-1", "app"] > 0


async def test_help_and_type_precede_all_samples_of_their_family() -> None:
    api = Api({"n1": kubelet.resource(WEB_1), "n2": kubelet.resource(WEB_2)})
    lines = (await metrics(api, ours("web-1", "n1"), ours("web-2", "n2")).resource()).decode().splitlines()
    at = lines.index("# TYPE pod_cpu_usage_seconds_total counter")
    assert lines[at - 1].startswith("# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time")
    assert lines[at + 1] == 'pod_cpu_usage_seconds_total{namespace="shop",pod="web-1"} 5.55 1795479175507'
    assert lines[at + 2] == 'pod_cpu_usage_seconds_total{namespace="shop",pod="web-2"} 5.55 1795479175507'
    assert lines[at + 3].startswith("# HELP")


async def test_the_cadvisor_metrics_contain_pods_and_the_sum_of_the_root_cgroups_and_no_other_cgroup() -> None:
    api = Api({"n1": kubelet.cadvisor(*WEB_1, "1"), "n2": kubelet.cadvisor(*WEB_2, "2", cpu=25.0)})
    text = await metrics(api, ours("web-1", "n1"), ours("web-2", "n2")).cadvisor()
    cgroup = "/kubepods.slice/kubepods-pod11.slice"
    assert values(text, "container_cpu_usage_seconds_total") == {
        ("/",): 75.0,
        ("shop", "web-1", "app", cgroup): 1.5,
        ("shop", "web-2", "app", cgroup): 1.5,
    }


async def test_label_values_pass_unchanged() -> None:
    text = await metrics(Api({"n1": kubelet.cadvisor(*WEB_1, "1")}), ours("web-1", "n1")).cadvisor()
    images = {sample.labels["image"] for sample in families(text)["container_cpu_usage_seconds"].samples}
    assert images == {"", 'a"b\\'}


async def test_metrics_of_machines_are_added_up() -> None:
    api = Api({"n1": kubelet.cadvisor(*WEB_1, "1", cores=4), "n2": kubelet.cadvisor(*WEB_2, "2", cores=8)})
    assert value(await metrics(api).cadvisor(), "machine_cpu_cores") == 12


async def test_metrics_that_cannot_be_added_up_are_omitted_for_the_node_and_kept_for_pods() -> None:
    text = await metrics(Api({"n1": kubelet.cadvisor(*WEB_1, "1")}), ours("web-1", "n1")).cadvisor()
    assert b"cadvisor_version_info" not in text
    assert [key[:2] for key in values(text, "container_last_seen")] == [("shop", "web-1")]


async def test_metrics_of_probes_have_the_uid_of_the_parent_pod() -> None:
    text = await metrics(Api({"n1": kubelet.probes(*WEB_1, "m-web-1")}), ours("web-1", "n1")).probes()
    found = families(text)
    assert [sample.labels["pod_uid"] for sample in found["prober_probe"].samples] == ["p-web-1"]
    assert found["prober_probe_duration_seconds"].type == "histogram"
    assert len(found["prober_probe_duration_seconds"].samples) == 4
    assert "process_start_time_seconds" not in found


async def test_metrics_of_probes_of_an_earlier_pod_with_the_same_name_are_omitted() -> None:
    text = await metrics(Api({"n1": kubelet.probes(*WEB_1, "m-earlier")}), ours("web-1", "n1")).probes()
    assert b"prober_probe_total" not in text


async def test_an_empty_answer_is_valid() -> None:
    member = metrics(Api({"n1": b""}))
    assert (await member.probes(), member.skipped) == (b"", 0)


async def test_cpu_time_wraps_around_at_the_limit_of_metrics_server() -> None:
    """metrics-server stores nanoseconds in 64 bits."""
    text = await metrics(Api({"n1": kubelet.resource(cpu=2**63 / 1e9 + 12.5)})).resource()
    assert value(text, "node_cpu_usage_seconds_total") == pytest.approx(12.5, abs=1e-3)


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


async def summary(member: MemberMetrics, *, lean: bool = False) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(await member.summary(only_cpu_and_memory=lean))
    return decoded


async def test_the_summary_is_the_sum_for_the_virtual_node() -> None:
    api = Api({"n1": kubelet.summary(cores=5, since="2026-11-02", at="10"), "n2": kubelet.summary(cores=7, at="20")})
    node = (await summary(metrics(api)))["node"]
    time = "2026-11-24T00:12:20Z"
    disk = {"time": time, "availableBytes": 120, "capacityBytes": 200, "usedBytes": 80, "inodes": 18, "inodesFree": 16}
    cpu = {"time": time, "usageNanoCores": 12, "usageCoreNanoSeconds": 10_000_000_000}
    assert node == {
        "nodeName": "member-a",
        "startTime": "2026-11-01T00:00:00Z",
        "systemContainers": [{"name": "kubelet", "startTime": "2026-11-01T00:00:00Z", "cpu": cpu}],
        "cpu": cpu,
        "memory": {"time": time, "availableBytes": 1400, "usageBytes": 800, "workingSetBytes": 600, "rssBytes": 400},
        "network": {"time": time, "rxBytes": 22, "rxErrors": 0, "txBytes": 44, "txErrors": 0},
        "fs": disk,
        "runtime": {"imageFs": disk, "containerFs": disk},
        "rlimit": {"time": time, "maxpid": 2000, "curproc": 20},
    }


async def test_the_summary_contains_member_pods_with_the_names_of_the_parent_pods() -> None:
    api = Api({"n1": kubelet.summary((*WEB_1, "m-web-1")), "n2": kubelet.summary((*WEB_2, "m-web-2"))})
    pods = (await summary(metrics(api, ours("web-1", "n1"), ours("web-2", "n2"))))["pods"]
    assert [pod["podRef"] for pod in pods] == [
        {"namespace": "shop", "name": "web-1", "uid": "p-web-1"},
        {"namespace": "shop", "name": "web-2", "uid": "p-web-2"},
    ]
    assert pods[0]["volume"][0]["pvcRef"] == {"name": "data-0", "namespace": "shop"}
    assert pods[0]["containers"][0]["cpu"]["psi"] == {"full": {"avg10": 3}}, "unknown fields survive"


async def test_the_summary_omits_an_earlier_pod_with_the_same_name() -> None:
    api = Api({"n1": kubelet.summary((*WEB_1, "m-earlier"))})
    assert (await summary(metrics(api, ours("web-1", "n1"))))["pods"] == []


async def test_the_option_only_cpu_and_memory_is_passed_to_the_nodes() -> None:
    api = Api({"n1": kubelet.summary()})
    await summary(metrics(api), lean=True)
    assert api.requests == ["GET /api/v1/nodes/n1/proxy/stats/summary?only_cpu_and_memory=true"]


@pytest.mark.parametrize(
    "answer", [b"?", b"[]", kubelet.summary()[:-9], b'{"pods":[]}', b"[" * 9999, HANGS], ids=lambda a: str(a)[:20]
)
async def test_a_node_with_an_unusable_summary_is_skipped_and_counted(answer: bytes | None) -> None:
    member = metrics(Api({"n1": answer, "n2": kubelet.summary(cores=7)}))
    assert (await summary(member))["node"]["cpu"]["usageNanoCores"] == 7
    assert member.skipped == 1


@pytest.mark.parametrize(
    "broken",
    [
        b"7",
        b'{"podRef":{"name":"web-1"}}',
        b'{"podRef":{"name":"web-1","namespace":"east-shop","uid":"m-web-1"},"volume":7}',
    ],
)
async def test_a_malformed_pod_is_skipped_and_counted(broken: bytes) -> None:
    answer = kubelet.summary((*WEB_2, "m-web-2")).replace(b'"pods": [', b'"pods": [' + broken + b",")
    member = metrics(Api({"n1": answer}), ours("web-1", "n1"), ours("web-2", "n1"))
    assert [pod["podRef"]["name"] for pod in (await summary(member))["pods"]] == ["web-2"]
    assert (member.skipped, member.skipped_pods) == (0, 1)


@pytest.mark.parametrize("value", [-1, 2**64, "much", True, {"inodes": 1}, None], ids=str)
async def test_an_invalid_value_is_omitted(value: Any) -> None:
    odd = {"node": {"fs": {"usedBytes": value, "time": "yesterday"}, "cpu": {"usageNanoCores": 1}}}
    member = metrics(Api({"n1": json.dumps(odd).encode(), "n2": kubelet.summary()}))
    disk = (await summary(member))["node"]["fs"]
    assert (disk["usedBytes"], disk["time"]) == (40, "2026-11-24T00:12:10Z")


async def test_counters_beyond_64_bits_wrap_around() -> None:
    odd = {"node": {"cpu": {"usageCoreNanoSeconds": 2**63 - 5}}}
    api = Api({"n1": json.dumps(odd).encode(), "n2": json.dumps(odd).encode()})
    assert (await summary(metrics(api)))["node"]["cpu"] == {"usageCoreNanoSeconds": 2**63 - 10}
