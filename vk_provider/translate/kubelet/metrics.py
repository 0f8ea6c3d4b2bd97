"""The Prometheus metrics of a member's nodes as those of one virtual node: pods of ours with the parent's names, and
sums over the nodes.

    answer of a member node -> Scrape (series of our pods, series of the node) -> merged (one text of all of them)

An answer is used completely or not at all: a line that is not in the text format raises MalformedError, an incomplete
line too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.translate.kubelet.prometheus import MalformedError, escape, number, parse_sample, written
from vk_provider.translate.kubelet.totals import Totals
from vk_provider.translate.names import Names, container_names

_STEP: Final = 2**16  # characters that are read in one step: under 2 ms
_TYPES: Final = frozenset({"counter", "gauge", "histogram", "summary", "untyped"})
_SUFFIXES: Final = frozenset({"", "_bucket", "_sum", "_count"})
_CUMULATIVE: Final = frozenset({"counter", "histogram"})
# 1 after an error, else 0. The maximum over the nodes counts, and a node that did not answer is an error, too.
_FLAG: Final = "scrape_error"  # suffix of such families
_NO_CONTAINER: Final = frozenset({"", "POD"})  # the series is that of the pod as a whole, or of its sandbox
# The sum of these families over nodes has no meaning: versions, settings and times of a node and its root cgroup.
_NOT_SUMMED: Final = frozenset(
    {
        "cadvisor_version_info",
        "container_last_seen",
        "container_spec_cpu_period",
        "container_spec_cpu_quota",
        "container_spec_cpu_shares",
        "container_start_time_seconds",
        "process_start_time_seconds",
    }
)
_MACHINE_LABELS: Final = frozenset({"boot_id", "machine_id", "system_uuid"})  # identify a node
# metrics-server counts nanoseconds in 64 bits. The sum over a large member exceeds that: 292 core-years.
_WRAPS: Final = {"node_cpu_usage_seconds_total": 2.0**63 / 1e9}


@dataclass(frozen=True, slots=True)
class Ours:
    """A pod of ours on a member node. `uid` is that of the parent pod, `containers` are the names of its containers."""

    namespace: str
    name: str
    uid: str
    member_uid: str
    containers: frozenset[str] | None  # None: not known, because the parent pod is gone

    def has(self, container: object) -> bool:
        """False for a container that the member's admission has added: a node has no metrics of it."""
        return self.containers is None or container in self.containers


# From namespace and name in the member. None: the pod is not ours, or does not run on the node.
Find = Callable[[str, str], Ours | None]


class _Bound(msgspec.Struct, rename="camel", gc=False):
    node_name: str = ""


def node_of(pod: Pod, names: Names) -> str:
    """The member node that a pod of ours is bound to; empty if it is not bound yet, or not ours."""
    return msgspec.json.decode(pod.spec, type=_Bound).node_name if names.owns(pod.metadata.labels) else ""


def find_ours(parents: Mapping[str, Pod], pods: Mapping[str, Pod], names: Names, node: str) -> Find:
    """Looks up member pods by `namespace/name`. The pod must be bound to the node, so that a pod that was recreated on
    another node is not reported twice while its first node still has metrics of it. `parents`: the parent pods.
    """
    known: dict[tuple[str, str], Ours | None] = {}

    def find(namespace: str, name: str) -> Ours | None:
        key = (namespace, name)
        if key not in known:
            known[key] = look(pods.get(f"{namespace}/{name}"))
        return known[key]

    def look(pod: Pod | None) -> Ours | None:
        if pod is None or node_of(pod, names) != node:
            return None
        key = names.parent_key(pod.metadata)
        namespace, _, name = key.partition("/")
        parent = parents.get(key)
        containers = container_names(parent) if parent else None
        return Ours(
            namespace, name, pod.metadata.annotations.get(wellknown.PARENT_UID, ""), pod.metadata.uid, containers
        )

    return find


class Series(NamedTuple):
    """A series of a virtual node. `labels` is the text with its braces; empty if there are none."""

    family: str
    name: str
    labels: str


class _Point(NamedTuple):
    value: float
    timestamp: int | None  # milliseconds since 1970


class _Family(NamedTuple):
    type: str
    help: str  # escaped


class Scrape:
    """The answer of one member node."""

    def __init__(self, find: Find) -> None:
        self._find = find
        self.families: dict[str, _Family] = {}
        self.pods: dict[str, list[str]] = {}  # family -> lines of our pods
        self.node: dict[Series, _Point] = {}

    def read(self, body: bytes) -> Iterator[None]:
        """Reads an answer, in steps of at most a few milliseconds. Raises MalformedError."""
        try:
            text = body.decode()
        except UnicodeDecodeError as error:
            raise MalformedError("not UTF-8") from error
        if text and not text.endswith("\n"):
            raise MalformedError("the last line is not complete")
        start = 0
        family = ""
        while start < len(text):
            end = text.find("\n", min(start + _STEP, len(text) - 1))
            for line in text[start:end].split("\n"):
                if line.startswith("#"):
                    family = self._comment(line) or family
                elif line and not line.isspace():
                    self._sample(line, family)
            start = end + 1
            yield

    def _comment(self, line: str) -> str:
        """The family that a HELP or TYPE line announces; empty for other comments."""
        parts = line.split(" ", 3)
        if len(parts) < 3 or parts[1] not in ("HELP", "TYPE"):
            return ""
        name, text = parts[2], parts[3] if len(parts) > 3 else ""
        known = self.families.get(name, _Family("untyped", ""))
        if parts[1] == "HELP":
            self.families[name] = known._replace(help=text)
        elif text in _TYPES:
            self.families[name] = known._replace(type=text)
        else:
            raise MalformedError(f"unknown type: {line[:100]!r}")
        return name

    def _sample(self, line: str, announced: str) -> None:
        name, labels, value, timestamp = parse_sample(line)
        family = announced if name.removeprefix(announced) in _SUFFIXES else name
        if pod := labels.get("pod"):
            if ours := self._find(labels.get("namespace", ""), pod):
                self._of_pod(ours, family, name, labels, line[line.rfind("}") + 1 :])
        elif labels.get("id", "/") == "/" and family not in _NOT_SUMMED and math.isfinite(value):
            kept = {label: text for label, text in labels.items() if label not in _MACHINE_LABELS}
            series = Series(family, name, written(kept))
            point = _Point(value, timestamp)
            self.node[series] = _sum(series, self.node[series], point) if series in self.node else point

    def _of_pod(self, ours: Ours, family: str, name: str, labels: dict[str, str], rest: str) -> None:
        if labels.get("container", "") not in _NO_CONTAINER and not ours.has(labels["container"]):
            return
        if "pod_uid" in labels:
            if labels["pod_uid"] != ours.member_uid:
                return  # an earlier pod of that name
            labels["pod_uid"] = escape(ours.uid)
        labels["namespace"], labels["pod"] = escape(ours.namespace), escape(ours.name)
        self.pods.setdefault(family, []).append(f"{name}{written(labels)}{rest}\n")


def merged(scrapes: Mapping[str, Scrape], totals: Totals[Series], *, skipped: bool) -> Iterator[bytes]:
    """One text of all answers (by member node). Each part takes a few milliseconds; some parts are empty.

    `skipped`: there are nodes that gave no answer.
    """
    families: dict[str, _Family] = {}
    for scrape in scrapes.values():
        families = scrape.families | families
    lines = yield from _of_node(scrapes, families, totals, skipped=skipped)
    for family in sorted({*lines, *(name for scrape in scrapes.values() for name in scrape.pods)}):
        kind = families.get(family, _Family("untyped", ""))
        head = f"# HELP {family} {kind.help}\n" if kind.help else ""
        parts = [f"{head}# TYPE {family} {kind.type}\n", *lines.get(family, ())]
        for scrape in scrapes.values():
            parts += scrape.pods.get(family, ())
        yield "".join(parts).encode()


def _of_node(
    scrapes: Mapping[str, Scrape], families: Mapping[str, _Family], totals: Totals[Series], *, skipped: bool
) -> Generator[bytes, None, dict[str, list[str]]]:
    """The lines of the virtual node itself, by family."""
    points: dict[Series, _Point] = {}
    round_ = totals.round()
    for node, scrape in scrapes.items():
        counters: dict[Series, float] = {}
        for series, point in scrape.node.items():
            if series.family in families and families[series.family].type in _CUMULATIVE:
                counters[series] = point.value
            points[series] = _sum(series, points[series], point) if series in points else point
        round_.take(node, counters)
        yield b""
    summed = round_.finish()
    lines: dict[str, list[str]] = {}
    for series, (value, timestamp) in points.items():
        value = 1.0 if skipped and series.family.endswith(_FLAG) else summed.get(series, value)
        if wrap := _WRAPS.get(series.family):
            value %= wrap
        suffix = "" if timestamp is None else f" {timestamp}"
        lines.setdefault(series.family, []).append(f"{series.name}{series.labels} {number(value)}{suffix}\n")
    return lines


def _sum(series: Series, one: _Point, other: _Point) -> _Point:
    value = max(one.value, other.value) if series.family.endswith(_FLAG) else one.value + other.value
    return _Point(value, _newest(one.timestamp, other.timestamp))


def _newest(one: int | None, other: int | None) -> int | None:
    return max((stamp for stamp in (one, other) if stamp is not None), default=None)
