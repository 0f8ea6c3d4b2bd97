"""The metrics of the provider itself, in the Prometheus text format."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from vk_provider.errors import UnreachableError
from vk_provider.kubelet.own_metrics import KubeletNumbers, OwnMetrics
from vk_provider.sync.dependents.sources import WatchLimit
from vk_provider.translate.state.health import Assessment, State


@dataclass
class Member:
    health: Assessment = field(default_factory=Assessment)
    last_sign_of_life: float = 0.0
    lost_reason: str = ""


class Scrapes:
    skipped = 3


def text(member: Member) -> str:
    kubelet = KubeletNumbers(["a session", "another"], ["a handshake"], [], {"bytes": 4})
    return OwnMetrics("west", "node-west", member, kubelet, Scrapes()).text().decode()


async def test_every_metric_is_present_with_its_help_and_type() -> None:
    member = Member(Assessment(State.LOST, UnreachableError("no answer")))
    member.last_sign_of_life = asyncio.get_running_loop().time() - 21.04
    assert text(member).splitlines() == [
        "# HELP vk_provider_kubelet_sessions Streams (exec, attach, portforward) that are open.",
        "# TYPE vk_provider_kubelet_sessions gauge",
        "vk_provider_kubelet_sessions 2.0",
        "# HELP vk_provider_kubelet_handshakes TLS handshakes under way, in the whole process.",
        "# TYPE vk_provider_kubelet_handshakes gauge",
        "vk_provider_kubelet_handshakes 1.0",
        "# HELP vk_provider_kubelet_unknown_clients Connections of clients that are not authenticated yet, in the whole"
        " process.",
        "# TYPE vk_provider_kubelet_unknown_clients gauge",
        "vk_provider_kubelet_unknown_clients 0.0",
        "# HELP vk_provider_kubelet_refused_total Clients that were refused before they were authenticated.",
        "# TYPE vk_provider_kubelet_refused_total counter",
        'vk_provider_kubelet_refused_total{member="west",node="node-west",reason="handshake"} 0.0',
        'vk_provider_kubelet_refused_total{member="west",node="node-west",reason="timeout"} 0.0',
        'vk_provider_kubelet_refused_total{member="west",node="node-west",reason="bytes"} 4.0',
        'vk_provider_kubelet_refused_total{member="west",node="node-west",reason="connections"} 0.0',
        'vk_provider_kubelet_refused_total{member="west",node="node-west",reason="token"} 0.0',
        "# HELP vk_provider_tasks Tasks of the whole process.",
        "# TYPE vk_provider_tasks gauge",
        "vk_provider_tasks 1.0",
        "# HELP vk_provider_member_nodes_skipped_total Answers of member nodes that could not be used.",
        "# TYPE vk_provider_member_nodes_skipped_total counter",
        "vk_provider_member_nodes_skipped_total 3.0",
        "# HELP vk_provider_member_state State of the member: 1 for its state, 0 for the others.",
        "# TYPE vk_provider_member_state gauge",
        'vk_provider_member_state{member="west",node="node-west",state="Healthy"} 0.0',
        'vk_provider_member_state{member="west",node="node-west",state="Suspect"} 0.0',
        'vk_provider_member_state{member="west",node="node-west",state="Lost"} 1.0',
        'vk_provider_member_state{member="west",node="node-west",state="Returning"} 0.0',
        'vk_provider_member_state{member="west",node="node-west",state="Refused"} 0.0',
        "# HELP vk_provider_member_frozen Whether the member is not declared lost although it is silent.",
        "# TYPE vk_provider_member_frozen gauge",
        'vk_provider_member_frozen{member="west",node="node-west"} 0.0',
        "# HELP vk_provider_member_silence_seconds Time since the last sign of life of the member.",
        "# TYPE vk_provider_member_silence_seconds gauge",
        'vk_provider_member_silence_seconds{member="west",node="node-west"} 21.0',
    ]


async def test_only_a_suspect_member_is_shown_as_frozen() -> None:
    frozen = 'vk_provider_member_frozen{member="west",node="node-west"} '
    assert f"{frozen}1.0" in text(Member(Assessment(State.SUSPECT, frozen="half of all members are silent")))
    assert f"{frozen}0.0" in text(Member(Assessment(State.HEALTHY, frozen="half of all members are silent")))


async def test_the_watches_of_single_objects_are_shown_with_their_limit() -> None:
    watches = WatchLimit(9)
    watches.used, watches.reads = 3, 5
    kubelet = KubeletNumbers([], [], [], {})
    lines = OwnMetrics("west", "node-west", Member(), kubelet, Scrapes(), watches).text().decode().splitlines()
    assert {
        "vk_provider_object_watches 3.0",
        "vk_provider_object_watches_limit 9.0",
        "vk_provider_object_reads_total 5.0",
    } <= set(lines)
