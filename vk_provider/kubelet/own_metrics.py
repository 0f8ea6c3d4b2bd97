"""The provider's own metrics, as every virtual node serves them at /metrics."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Protocol

from prometheus_client import Metric, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

from vk_provider.api import wellknown
from vk_provider.kubelet.backend import MemberHealth
from vk_provider.kubelet.connections import REASONS
from vk_provider.translate.state.health import State


class Scrapes(Protocol):
    """Interface: `skipped` is the number of answers of member nodes that could not be used; a MemberMetrics."""

    @property
    def skipped(self) -> int: ...


class ObjectWatches(Protocol):
    """Interface: how many ConfigMaps and Secrets of the parent the process watches, how many it may watch, and how
    often it has read one instead; a WatchLimit.
    """

    @property
    def used(self) -> int: ...

    @property
    def most(self) -> int: ...

    @property
    def reads(self) -> int: ...


@dataclass(frozen=True)
class KubeletNumbers:
    """What the server of a virtual node counts. Handshakes and unknown clients are those of the whole process."""

    sessions: Sized
    handshakes: Sized
    unknown: Sized
    refused: Mapping[str, int]  # by reason


class OwnMetrics:
    """Reads the current values when it is asked. Used from one event loop."""

    def __init__(
        self,
        member: str,
        node: str,
        state: MemberHealth,
        kubelet: KubeletNumbers,
        scrapes: Scrapes,
        watches: ObjectWatches | None = None,
    ) -> None:
        """`member` and `node` are the names of the member and of its virtual node."""
        self._watches = watches
        self._labels = {"member": member, "node": node}
        self._state, self._kubelet, self._scrapes = state, kubelet, scrapes

    def text(self) -> bytes:
        """In the Prometheus text format, version 0.0.4."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """All metrics, for prometheus-client."""
        yield from self._of_kubelet()
        if self._watches is not None:
            yield from _of_watches(self._watches)
        yield GaugeMetricFamily("vk_provider_tasks", "Tasks of the whole process.", value=len(asyncio.all_tasks()))
        yield CounterMetricFamily(
            "vk_provider_member_nodes_skipped",
            "Answers of member nodes that could not be used.",
            value=self._scrapes.skipped,
        )
        health = self._state.health
        state = GaugeMetricFamily(
            "vk_provider_member_state",
            "State of the member: 1 for its state, 0 for the others.",
            labels=[*self._labels, "state"],
        )
        for each in State:
            state.add_metric([*self._labels.values(), each], each is health.state)
        yield state
        yield self._of_member(
            "vk_provider_member_frozen",
            "Whether the member is not declared lost although it is silent.",
            health.reason == wellknown.FROZEN,
        )
        yield self._of_member(
            "vk_provider_member_silence_seconds",
            "Time since the last sign of life of the member.",
            round(asyncio.get_running_loop().time() - self._state.last_sign_of_life, 1),
        )

    def _of_kubelet(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "vk_provider_kubelet_sessions",
            "Streams (exec, attach, portforward) that are open.",
            value=len(self._kubelet.sessions),
        )
        yield GaugeMetricFamily(
            "vk_provider_kubelet_handshakes",
            "TLS handshakes under way, in the whole process.",
            value=len(self._kubelet.handshakes),
        )
        yield GaugeMetricFamily(
            "vk_provider_kubelet_unknown_clients",
            "Connections of clients that are not authenticated yet, in the whole process.",
            value=len(self._kubelet.unknown),
        )
        refused = CounterMetricFamily(
            "vk_provider_kubelet_refused",
            "Clients that were refused before they were authenticated.",
            labels=[*self._labels, "reason"],
        )
        for reason in REASONS:
            refused.add_metric([*self._labels.values(), reason], self._kubelet.refused.get(reason, 0))
        yield refused

    def _of_member(self, name: str, documentation: str, value: float) -> GaugeMetricFamily:
        family = GaugeMetricFamily(name, documentation, labels=list(self._labels))
        family.add_metric(list(self._labels.values()), value)
        return family


def _of_watches(watches: ObjectWatches) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "vk_provider_object_watches",
        "ConfigMaps and Secrets of the parent that the whole process watches, a connection each.",
        value=watches.used,
    )
    yield GaugeMetricFamily(
        "vk_provider_object_watches_limit",
        "How many ConfigMaps and Secrets of the parent the whole process may watch.",
        value=watches.most,
    )
    yield CounterMetricFamily(
        "vk_provider_object_reads",
        "Reads of ConfigMaps and Secrets of the parent that are not watched, by the whole process.",
        value=watches.reads,
    )
