"""What pods request of a node: of the member's other pods all of it, of our own what the parent does not know about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Pod, pod_phase
from vk_provider.translate.quantity import parse

Resources = Mapping[str, Fraction]


class _Requests(msgspec.Struct):
    requests: dict[str, str | int | float] = {}


class _Container(msgspec.Struct, rename="camel"):
    resources: _Requests = msgspec.field(default_factory=_Requests)
    restart_policy: str = ""


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    containers: list[_Container] = []
    init_containers: list[_Container] = []
    overhead: dict[str, str | int | float] = {}
    resources: _Requests = msgspec.field(default_factory=_Requests)

    @property
    def requesting(self) -> tuple[object, ...]:
        """Everything that `pod_requests` reads."""
        return self.containers, self.init_containers, self.overhead, self.resources


_pod_spec = msgspec.json.Decoder(_PodSpec)


class Usage(msgspec.Struct, gc=False):
    """The cached part of a pod of the member that is not ours: its node and its requests."""

    metadata: Metadata
    node: str
    requests: dict[str, Fraction]


def usage(pod: Pod) -> Usage:
    """Reduces a pod to its node and its requests. A pod that has ended requests nothing."""
    spec = _pod_spec.decode(pod.spec)
    bare = Metadata(
        name=pod.metadata.name, namespace=pod.metadata.namespace, resource_version=pod.metadata.resource_version
    )
    return Usage(bare, spec.node_name, {} if pod_phase(pod).ended else pod_requests(spec))


def unknown_to_parent(member: Pod, parent: Pod | None) -> tuple[str, dict[str, Fraction]]:
    """The member's node of a member pod of ours, and what it requests beyond its parent pod.

    The member's admission may have added it (sidecars, defaults of a LimitRange). The parent's scheduler counts what
    the parent pod requests, and nothing of a member pod without a parent pod. Nothing is requested by a pod that has
    ended, or that has no node yet.
    """
    spec = _pod_spec.decode(member.spec)
    if not spec.node_name:
        return "", {}
    ours = parent is not None and member.metadata.annotations.get(wellknown.PARENT_UID) == parent.metadata.uid
    known = _pod_spec.decode(parent.spec) if ours and parent is not None else None
    if (known is not None and known.requesting == spec.requesting) or pod_phase(member).ended:
        return spec.node_name, {}
    counted = pod_requests(known) if known is not None else {}
    extra = {name: value - counted.get(name, Fraction(0)) for name, value in pod_requests(spec).items()}
    return spec.node_name, {name: value for name, value in extra.items() if value > 0}


def pod_requests(spec: _PodSpec) -> dict[str, Fraction]:
    """Effective requests of a pod, as the scheduler computes them.

    The larger of two sums: containers and sidecars; or one init container and the sidecars that start before it.
    Pod-level requests override this. Overhead is added, and one pod.
    (https://kubernetes.io/docs/concepts/workloads/pods/init-containers/#resource-sharing-within-containers)
    """
    running = total(parsed(container.resources.requests) for container in spec.containers)
    sidecars: dict[str, Fraction] = {}
    peak: dict[str, Fraction] = {}
    for container in spec.init_containers:
        requests = parsed(container.resources.requests)
        if container.restart_policy == "Always":
            sidecars = total((sidecars, requests))
            peak = largest(peak, sidecars)
        else:
            peak = largest(peak, total((sidecars, requests)))
    found = largest(total((running, sidecars)), peak) | parsed(spec.resources.requests)
    return total((found, parsed(spec.overhead), {"pods": Fraction(1)}))


def total(parts: Iterable[Resources]) -> dict[str, Fraction]:
    """The sum for each resource."""
    found: dict[str, Fraction] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, Fraction(0)) + value
    return found


def largest(one: Resources, other: Resources) -> dict[str, Fraction]:
    """The larger value for each resource."""
    return {name: max(one.get(name, Fraction(0)), other.get(name, Fraction(0))) for name in one.keys() | other.keys()}


def parsed(quantities: Mapping[str, str | int | float]) -> dict[str, Fraction]:
    """Raises ValueError for what is not a quantity."""
    return {name: parse(value) for name, value in quantities.items()}
