"""A container that the member's admission has added has no metrics in the parent, as it has no status there.

A HorizontalPodAutoscaler divides the usage of all containers with metrics by the requests of those in the pod's spec.
"""

from __future__ import annotations

import json

import pytest

from tests.unit import kubelet_answers as kubelet
from tests.unit.pods import Manifest, pod
from tests.unit.scraping import WEB_1, Api, Pods, metrics, ours, values

pytestmark = pytest.mark.looptime

APP = {"name": "app", "image": "app:1"}
MAIN = {"name": "main", "image": "main:1"}


@pytest.mark.parametrize(
    ("spec", "shown"),
    [
        ({"containers": [APP]}, True),
        ({"containers": [MAIN]}, False),
        ({"containers": [MAIN], "initContainers": [APP]}, True),
        ({"containers": [MAIN], "ephemeralContainers": [APP]}, True),
    ],
)
async def test_only_containers_of_the_parent_pod_have_metrics(spec: Manifest, shown: bool) -> None:
    """The member's kubelet reports a container `app`."""
    parents, member = Pods(pod(spec, name="web-1")), ours("web-1", "n1")

    async def containers(answer: bytes, path: str, sample: str) -> list[str]:
        text = await getattr(metrics(Api({"n1": answer}), member, parents=parents), path)()
        return [labels[2] for labels in values(text, sample) if labels[:2] == ("shop", "web-1") and labels[2:]]

    expected = ["app"] if shown else []
    assert await containers(kubelet.resource(WEB_1), "resource", "container_memory_working_set_bytes") == expected
    assert await containers(kubelet.cadvisor(*WEB_1, "1"), "cadvisor", "container_cpu_usage_seconds_total") == expected
    assert await containers(kubelet.probes(*WEB_1, "m-web-1"), "probes", "prober_probe_total") == expected
    scraped = metrics(Api({"n1": kubelet.summary((*WEB_1, "m-web-1"))}), member, parents=parents)
    (entry,) = json.loads(await scraped.summary(only_cpu_and_memory=False))["pods"]
    assert [container["name"] for container in entry["containers"]] == expected


async def test_the_pod_as_a_whole_keeps_what_it_uses() -> None:
    parents, api = Pods(pod({"containers": [MAIN]}, name="web-1")), Api({"n1": kubelet.resource(WEB_1)})
    text = await metrics(api, ours("web-1", "n1"), parents=parents).resource()
    assert values(text, "pod_cpu_usage_seconds_total") == {("shop", "web-1"): 5.55}
