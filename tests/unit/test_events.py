"""Events of the member, in both formats, become Events about the parent pod."""

from __future__ import annotations

import msgspec

from tests.unit.pods import Manifest, decoded, pod
from vk_provider.kube.recorder import ForwardedEvent
from vk_provider.sync.pods.events import MemberEvent

PARENT = pod().metadata
ABOUT = {"kind": "Pod", "name": "web-1", "namespace": "shop", "uid": "m-1"}


def forwarded(**fields: object) -> ForwardedEvent:
    metadata: Manifest = {"name": "web-1.17", "uid": "e-1", "creationTimestamp": "2026-03-01T10:00:00Z"}
    body = {"metadata": metadata, "involvedObject": ABOUT, "type": "Warning", "reason": "BackOff", **fields}
    return decoded(body, MemberEvent).for_parent(PARENT, "alpha")


def test_an_event_of_a_kubelet_keeps_its_count_and_times_and_comes_from_the_virtual_node() -> None:
    times = {"firstTimestamp": "2026-03-01T10:00:00Z", "lastTimestamp": "2026-03-01T10:05:00Z"}
    source = {"component": "kubelet", "host": "node-7"}
    found = forwarded(count=4, source=source, involvedObject=ABOUT | {"fieldPath": "spec.containers{app}"}, **times)
    assert (found.component, found.host, found.field_path) == ("kubelet", "alpha", "spec.containers{app}")
    assert (found.count, found.first, found.last) == (4, "2026-03-01T10:00:00Z", "2026-03-01T10:05:00Z")


def test_an_event_in_the_newer_format_has_the_count_of_its_series() -> None:
    series = {"count": 7, "lastObservedTime": "2026-03-01T10:06:00.123456Z"}
    nothing: Manifest = {"firstTimestamp": None, "lastTimestamp": None, "source": {}}
    found = forwarded(
        eventTime="2026-03-01T10:00:00.654321Z", series=series, reportingComponent="default-scheduler", **nothing
    )
    assert (found.component, found.count) == ("alpha/default-scheduler", 7), "not the parent's scheduler"
    assert (found.first, found.last) == ("2026-03-01T10:00:00Z", "2026-03-01T10:06:00Z")


def test_an_event_without_count_and_times_has_count_1_and_its_creation_time() -> None:
    found = forwarded()
    assert (found.count, found.first, found.last) == (1, "2026-03-01T10:00:00Z", "2026-03-01T10:00:00Z")


def test_repetitions_of_an_event_have_the_same_name_and_other_events_have_another() -> None:
    assert forwarded(count=1).name == forwarded(count=2).name
    assert forwarded().name != forwarded(metadata={"uid": "e-2"}).name


def test_the_name_of_an_event_is_valid_for_every_name_of_a_pod() -> None:
    name = msgspec.structs.replace(PARENT, name="a" * 199 + ".b")
    body = {"metadata": {"uid": "e-1"}, "involvedObject": ABOUT}
    found = decoded(body, MemberEvent).for_parent(name, "alpha").name
    assert ".." not in found
    assert len(found) <= 253
