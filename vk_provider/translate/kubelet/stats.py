"""A member's /stats/summary as that of one virtual node (https://pkg.go.dev/k8s.io/kubelet/pkg/apis/stats/v1alpha1).

The pods are ours, with the parent's names. The values of the node are sums of those in the tables below. Fields in
neither table (averages, names of interfaces) have no meaning for several nodes and are omitted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from vk_provider.translate.kubelet.metrics import Find, Ours
from vk_provider.translate.kubelet.prometheus import MalformedError
from vk_provider.translate.kubelet.totals import Totals

_STEP: Final = 100  # pods that are read in one step

# Where a value of a node is, e.g. ("cpu", "usageNanoCores"); systemContainers have their names in it.
Path = tuple[str, ...]

_COUNTERS: Final = frozenset(
    {
        "usageCoreNanoSeconds",
        "pageFaults",
        "majorPageFaults",
        "rxBytes",
        "rxErrors",
        "txBytes",
        "txErrors",
    }
)
_GAUGES: Final = frozenset(
    {
        "usageNanoCores",
        "availableBytes",
        "usageBytes",
        "workingSetBytes",
        "rssBytes",
        "capacityBytes",
        "usedBytes",
        "inodesFree",
        "inodes",
        "inodesUsed",
        "swapAvailableBytes",
        "swapUsageBytes",
        "maxpid",
        "curproc",
    }
)
_PARTS: Final = frozenset(
    {"cpu", "memory", "swap", "network", "fs", "runtime", "imageFs", "containerFs", "rlimit"},
)
_NAMED: Final = "systemContainers"
_LIMIT: Final = 2**63  # values are uint64, but some clients use int64; counters of nanoseconds reach this limit
_encoder = msgspec.json.Encoder()


class _Summary(msgspec.Struct):
    node: dict[str, Any]
    pods: list[msgspec.Raw] = []


class _PodRef(msgspec.Struct):
    name: str
    namespace: str
    uid: str


class _PodStats(msgspec.Struct, rename="camel"):
    pod_ref: _PodRef


class NodeStats:
    """The answer of one member node."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self.pods: list[bytes] = []  # JSON of our pods
        self.broken_pods = 0
        self.values: dict[Path, int] = {}
        self.times: dict[Path, str] = {}  # RFC 3339

    def read(self, body: bytes) -> Iterator[None]:
        """Reads an answer, in steps of a few milliseconds. Raises MalformedError. A malformed pod is only counted."""
        try:
            summary = msgspec.json.decode(body, type=_Summary)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MalformedError(f"not a stats summary: {error}") from error
        self._flatten(summary.node, ())
        yield
        for count, raw in enumerate(summary.pods, 1):
            try:
                ref = msgspec.json.decode(raw, type=_PodStats).pod_ref
                ours = self._find(ref.namespace, ref.name)
                if ours and ref.uid == ours.member_uid:
                    self.pods.append(_renamed(msgspec.json.decode(raw), ours))
            except (msgspec.DecodeError, AttributeError, TypeError, OverflowError, RecursionError):
                self.broken_pods += 1
            if count % _STEP == 0:
                yield

    def _flatten(self, part: dict[str, Any], path: Path) -> None:
        for name, value in part.items():
            here = (*path, name)
            if isinstance(value, dict) and name in _PARTS:
                self._flatten(value, here)
            elif type(value) is int and name in _COUNTERS | _GAUGES and 0 <= value < _LIMIT:
                self.values[here] = value
            elif isinstance(value, str) and name in ("time", "startTime") and _is_time(value):
                self.times[here] = value
            elif isinstance(value, list) and name == _NAMED:
                for item in value:
                    if isinstance(item, dict) and isinstance(item.get("name"), str):
                        self._flatten(item, (*here, item["name"]))


def _is_time(text: str) -> bool:
    """Whether it is a time in the notation of Kubernetes; such times compare as strings."""
    try:
        datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return len(text) == 20


def _renamed(pod: dict[str, Any], ours: Ours) -> bytes:
    """The entry of a pod with the names and containers of the parent pod; claims of volumes are in its namespace."""
    if containers := pod.get("containers"):
        pod["containers"] = [container for container in containers if ours.has(container.get("name"))]
    pod["podRef"] |= {"namespace": ours.namespace, "name": ours.name, "uid": ours.uid}
    for volume in pod.get("volume") or ():
        if claim := volume.get("pvcRef"):
            claim["namespace"] = ours.namespace
    return _encoder.encode(pod)


def summed(node_name: str, answers: Mapping[str, NodeStats], totals: Totals[Path]) -> Iterator[bytes]:
    """One Summary of all answers (by member node). Each part takes a few milliseconds; some parts are empty."""
    values: dict[Path, int] = {}
    times: dict[Path, str] = {}
    round_ = totals.round()
    for node, answer in answers.items():
        for path, value in answer.values.items():
            values[path] = values.get(path, 0) + value
        for path, time in answer.times.items():
            # The newest time of measurement; the start of the node is that of its oldest part.
            pick = min if path[-1] == "startTime" else max
            times[path] = pick(times.get(path, time), time)
        round_.take(node, {path: value for path, value in answer.values.items() if path[-1] in _COUNTERS})
        yield b""
    values = {path: min(value, _LIMIT - 1) for path, value in values.items()}
    values |= {path: int(total) % _LIMIT for path, total in round_.finish().items()}
    yield b'{"node":' + _encoder.encode({"nodeName": node_name} | _unflattened({**times, **values})) + b',"pods":['
    separator = b""
    for answer in answers.values():
        if answer.pods:
            yield separator + b",".join(answer.pods)
            separator = b","
    yield b"]}"


def _unflattened(values: Mapping[Path, int | str]) -> dict[str, Any]:
    node: dict[str, Any] = {}
    for path, value in values.items():
        part = node
        for name in path[:-1]:
            part = part.setdefault(name, {})
        part[path[-1]] = value
    if named := node.pop(_NAMED, None):
        node[_NAMED] = [{"name": name} | part for name, part in named.items()]
    return node
