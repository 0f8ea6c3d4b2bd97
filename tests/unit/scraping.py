"""A scripted API server of a member, and parsers for the metrics of the virtual node."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.unit.pods import PARENT, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.kubelet.metrics import MemberMetrics
from vk_provider.translate.names import Names

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


def metrics(api: Api, *pods: Pod, parents: Pods | None = None) -> MemberMetrics:
    """With a pod of ours on each node, so that each is asked; no answer has metrics of these pods."""
    anywhere = [ours(f"on-{node}", node) for node in api.answers]
    return MemberMetrics(api, NAMES, Nodes(api.answers), parents or Pods(), Pods(*pods, *anywhere))


async def later() -> None:
    """Until answers are not shared any more."""
    await asyncio.sleep(10.5)


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
