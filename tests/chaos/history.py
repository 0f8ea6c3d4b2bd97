"""The observations, in order. Several threads write them; `invariants` reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from math import inf
from typing import Any, Final

from vk_provider.api import wellknown

PARENT = "parent"
_LAG: Final = 1.0  # seconds between two watches that show the same moment
POD_GC: Final = "DeletionByPodGC"  # reason of DisruptionTarget: a pod without a Node was removed by force


@dataclass(frozen=True)
class Seen:
    """A pod as its API server reported it at one moment. `gone`: the last observation; the pod no longer exists."""

    cluster: str
    key: str  # namespace/name
    uid: str
    parent_uid: str  # of the parent pod; empty unless this is a member pod of the provider
    node: str
    phase: str
    policy: str
    restarts: int  # of all containers
    deleting: bool = False
    gone: bool = False
    at: float = 0.0  # time of the observation, by the clock of containers
    disruption: str = ""  # reason of the condition DisruptionTarget

    def __str__(self) -> str:
        marks = [mark for mark, holds in (("deleting", self.deleting), ("gone", self.gone)) if holds]
        shown = [self.cluster, self.key, self.uid, self.phase, f"restarts={self.restarts}", self.node, *marks]
        return f"{self.at:.2f} {' '.join(shown)} {self.disruption}".rstrip()


@dataclass(frozen=True)
class Container:
    """A container that ran. Times are seconds of one clock. `ended` None: it still runs."""

    cluster: str
    pod_uid: str
    parent_uid: str
    policy: str
    started: float
    ended: float | None = None
    key: str = ""  # namespace/name of the pod


@dataclass(frozen=True)
class NodeSeen:
    """A Node of the parent at one moment. `gone`: it no longer exists."""

    name: str
    ready: str  # status of the condition Ready; empty if there is none
    reason: str
    provider_id: str = ""
    gone: bool = False
    at: float = 0.0


@dataclass(frozen=True)
class Disturbance:
    """A fault that was in effect at a place of the plan. `ended` None: it still is."""

    place: str
    fault: str
    began: float
    ended: float | None = None

    def overlaps(self, since: float, until: float) -> bool:
        return self.began <= until and (self.ended is None or self.ended >= since)


@dataclass
class History:
    """All observations. `interfered`: UIDs of member pods that another client deleted. `forced`: UIDs of pods, of the
    parent or of members, that a client deleted by force (grace period 0).
    """

    seen: list[Seen] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    interfered: set[str] = field(default_factory=set)
    forced: set[str] = field(default_factory=set)
    nodes: list[NodeSeen] = field(default_factory=list)
    disturbances: list[Disturbance] = field(default_factory=list)
    until: float = 0.0  # time of a snapshot
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)
            if seen.disruption and seen.parent_uid:
                self.interfered.add(seen.uid)  # by a controller of the member

    def add_node(self, node: NodeSeen) -> None:
        with self._lock:
            self.nodes.append(node)

    def put_container(self, index: int | None, container: Container) -> int:
        """Adds a container (index None) or replaces it. Returns the index."""
        with self._lock:
            if index is None:
                self.containers.append(container)
                return len(self.containers) - 1
            self.containers[index] = container
            return index

    def disturb(self, place: str, fault: str, at: float) -> None:
        with self._lock:
            self.disturbances.append(Disturbance(place, fault, at))

    def calm(self, place: str, at: float) -> None:
        """Ends the disturbances at a place."""
        with self._lock:
            self.disturbances = [
                replace(each, ended=at) if each.place == place and each.ended is None else each
                for each in self.disturbances
            ]

    def interfere(self, uid: str) -> None:
        with self._lock:
            self.interfered.add(uid)

    def force(self, uid: str) -> None:
        with self._lock:
            self.forced.add(uid)

    def copy(self, until: float = 0.0) -> History:
        """A snapshot, for checks without the lock."""
        with self._lock:
            return History(
                list(self.seen),
                list(self.containers),
                set(self.interfered),
                set(self.forced),
                list(self.nodes),
                list(self.disturbances),
                until,
            )

    def of(self, *clusters: str) -> Iterator[Seen]:
        return (seen for seen in self.seen if seen.cluster in clusters)

    def about(self, text: str) -> Iterator[str]:
        """The observations, in order, of the parent and member pods whose UIDs occur in `text`."""
        for seen in self.seen:
            if seen.uid in text or (seen.parent_uid and seen.parent_uid in text):
                yield str(seen)

    @property
    def members(self) -> set[str]:
        return {seen.cluster for seen in self.seen} - {PARENT}

    @property
    def taken(self) -> dict[str, Seen]:
        """The parent pods, by UID, that the garbage collection of pods removed by force, because they had no Node.

        A pod whose member pod was removed like that has the same condition, while its Node exists.
        """
        missing = list(self._missing_nodes())
        found: dict[str, Seen] = {}
        for seen in self.of(PARENT):
            if seen.disruption != POD_GC or seen.uid in found:
                continue
            if any(name == seen.node and since - _LAG <= seen.at <= until + _LAG for name, since, until in missing):
                found[seen.uid] = seen
        return found

    def _missing_nodes(self) -> Iterator[tuple[str, float, float]]:
        """The times in which a Node did not exist: its name, and from when until when."""
        gone: dict[str, float] = {}
        for node in self.nodes:
            if node.gone:
                gone[node.name] = node.at
            elif (since := gone.pop(node.name, None)) is not None:
                yield node.name, since, node.at
        yield from ((name, since, inf) for name, since in gone.items())

    @property
    def exempt(self) -> set[str]:
        """UIDs of pods that may be removed while their containers run: a client deleted them by force, or the garbage
        collection of pods took them from a Node without a providerID."""
        known = {node.name: node.provider_id for node in self.nodes}
        return self.forced | {uid for uid, seen in self.taken.items() if not known.get(seen.node)}


def seen(cluster: str, pod: dict[str, Any], *, gone: bool = False, at: float = 0.0) -> Seen:
    """The observation of a pod."""
    metadata, status = pod["metadata"], pod.get("status", {})
    disruptions = [c for c in status.get("conditions", ()) if c["type"] == "DisruptionTarget" and c["status"] == "True"]
    return Seen(
        cluster=cluster,
        key=f"{metadata['namespace']}/{metadata['name']}",
        uid=metadata["uid"],
        parent_uid=metadata.get("annotations", {}).get(wellknown.PARENT_UID, ""),
        node=pod["spec"].get("nodeName", ""),
        phase=status.get("phase", ""),
        policy=pod["spec"].get("restartPolicy", "Always"),
        restarts=sum(one.get("restartCount", 0) for one in status.get("containerStatuses", ())),
        deleting="deletionTimestamp" in metadata,
        gone=gone,
        at=at,
        disruption=disruptions[0].get("reason", "") if disruptions else "",
    )


def node_seen(node: dict[str, Any], *, gone: bool = False, at: float = 0.0) -> NodeSeen:
    """The observation of a Node of the parent."""
    conditions = {c["type"]: c for c in node.get("status", {}).get("conditions", ())}
    ready = conditions.get("Ready", {})
    return NodeSeen(
        name=node["metadata"]["name"],
        ready=ready.get("status", ""),
        reason=ready.get("reason", ""),
        provider_id=node.get("spec", {}).get("providerID", ""),
        gone=gone,
        at=at,
    )
