"""The observations, in order. Several threads write them; `invariants` reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from vk_provider.api import wellknown

PARENT = "parent"


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

    def __str__(self) -> str:
        marks = [mark for mark, holds in (("deleting", self.deleting), ("gone", self.gone)) if holds]
        shown = [self.cluster, self.key, self.uid, self.phase, f"restarts={self.restarts}", *marks]
        return f"{self.at:.2f} {' '.join(shown)}"


@dataclass(frozen=True)
class Container:
    """A container that ran. Times are seconds of one clock. `ended` None: it still runs."""

    cluster: str
    pod_uid: str
    parent_uid: str
    policy: str
    started: float
    ended: float | None = None


@dataclass
class History:
    """All observations. `interfered`: UIDs of member pods that another client deleted. `forced`: UIDs of pods, of the
    parent or of members, that a client deleted by force (grace period 0).
    """

    seen: list[Seen] = field(default_factory=list)
    containers: list[Container] = field(default_factory=list)
    interfered: set[str] = field(default_factory=set)
    forced: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, seen: Seen) -> None:
        with self._lock:
            self.seen.append(seen)

    def put_container(self, index: int | None, container: Container) -> int:
        """Adds a container (index None) or replaces it. Returns the index."""
        with self._lock:
            if index is None:
                self.containers.append(container)
                return len(self.containers) - 1
            self.containers[index] = container
            return index

    def interfere(self, uid: str) -> None:
        with self._lock:
            self.interfered.add(uid)

    def force(self, uid: str) -> None:
        with self._lock:
            self.forced.add(uid)

    def copy(self) -> History:
        """A snapshot, for checks without the lock."""
        with self._lock:
            return History(list(self.seen), list(self.containers), set(self.interfered), set(self.forced))

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


def seen(cluster: str, pod: dict[str, Any], *, gone: bool = False, at: float = 0.0) -> Seen:
    """The observation of a pod."""
    metadata, status = pod["metadata"], pod.get("status", {})
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
    )
