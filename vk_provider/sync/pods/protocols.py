"""What the pod loop asks of other parts, and what it remembers of a pod.

The parts do not import one another: virtual_node.py hands them to each other as these protocols.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Protocol

from vk_provider.kube.objects import Pod
from vk_provider.translate.pods.pod import Owner

Event = Callable[[Pod, str, str, str], None]
"""Records an Event about a parent pod: type, reason, message."""


class Dependents(Protocol):
    """Interface: what pods need in the member besides themselves."""

    def adopt(self, pod: Pod) -> None: ...

    async def prepare(self, pod: Pod) -> Owner: ...

    async def ensure(self, pod: Pod) -> None: ...

    def release(self, pod_uid: str) -> None: ...

    def pod_gone(self, namespace: str) -> None: ...


class Brake(Protocol):
    """Interface: when an orphan may be deleted: now (None), or ask again after that many seconds."""

    def delay(self, orphan: Pod) -> float | None: ...


class KnownResources(Protocol):
    """Interface: the resources that nodes of the member have or had."""

    @property
    def known_resources(self) -> Set[str]: ...


@dataclass(slots=True)
class PodMemory:
    """Memory about one pod beyond the caches; may be lost at any time."""

    uid: str = ""  # of the parent pod whose dependents are registered
    applied: int = 0  # hash of (parent, member) for which no change was left to apply
    final: Pod | None = None  # the member pod as it was when it was removed, until that is reflected
    created_uid: str = ""  # UID of the parent pod that had a member pod, which its status may not show yet
    foreign: Pod | None = None  # the pod of that name in the member that is not ours
    create_unknown: bool = False  # a create was sent and its outcome is unknown
    finished: str = ""  # UID of the parent pod whose final delete was sent
    deleting: tuple[str, int | None] | None = None  # UID and grace of the delete that was sent
    not_evicted: tuple[str, str] = "", ""  # UID, and annotation at-most-once, of a parent pod that must not be evicted
    refusals: int = 0  # how often in a row the member has refused the pod, or what it needs
    refusal: str = ""  # the member's last message
    refused_since: float = 0.0  # loop time of the first one
    refused_look: float = 0.0  # loop time of the next look whether the pod is evicted
    empty_status_until: float = 0.0  # loop time until which the empty status of a new member pod is not reflected
    recreated: int = 0  # how often a lost member pod was created again
    recreated_at: float = 0.0  # loop time

    def forget(self) -> None:
        """Forgets everything but what must not be lost while a member pod may exist that no cache shows."""
        kept = PodMemory(uid=self.uid, create_unknown=self.create_unknown)
        for name in self.__slots__:
            setattr(self, name, getattr(kept, name))
