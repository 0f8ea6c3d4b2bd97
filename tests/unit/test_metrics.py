"""The metrics of a member's nodes become the metrics of one virtual node."""

from __future__ import annotations

import pytest

from tests.unit import kubelet_answers as kubelet
from tests.unit.scraping import WEB_1, WEB_2, Api, families, metrics, ours, value, values

pytestmark = pytest.mark.looptime


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
