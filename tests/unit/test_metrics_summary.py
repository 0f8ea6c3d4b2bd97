"""The stats summaries of a member's nodes become the summary of one virtual node."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.unit import kubelet_answers as kubelet
from tests.unit.scraping import HANGS, WEB_1, WEB_2, Api, metrics, ours
from vk_provider.kubelet.metrics import MemberMetrics

pytestmark = pytest.mark.looptime


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
