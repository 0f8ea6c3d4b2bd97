"""What the pod loop asks of the other loops, and what it remembers of a pod.

The loops do not import one another: member.py hands them to each other as these.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from vk_provider.kube.objects import Pod


class Dependents(Protocol):
    """Port: what pods need beside them."""

    async def bring(self, pod: Pod) -> None: ...

    def release(self, pod_uid: str) -> None: ...


class Namespaces(Protocol):
    """Port: the member's namespaces."""

    async def ensure(self, parent_namespace: str) -> str: ...


class Services(Protocol):
    """Port: the parent's Services in the member."""

    async def ensure(self, parent_namespace: str) -> None: ...


class Statuses(Protocol):
    """Port: the parent pods' status."""

    async def reflect(self, parent: Pod, member: Pod) -> None: ...

    async def wait(self, parent: Pod, reason: str, message: str) -> None: ...

    async def fail(self, parent: Pod, reason: str, message: str) -> None: ...

    async def lose(self, parent: Pod, message: str) -> None: ...

    def forget(self, key: str) -> None: ...


class Brake(Protocol):
    """Port: whether a member pod that the parent does not know may be deleted now."""

    def may_delete(self, member: Pod) -> bool: ...


@dataclass(slots=True)
class PodState:
    """Memory about one pod beyond the caches; may be lost at any time."""

    applied: int = 0  # hash of (parent, member) for which no change was left to apply
    last: Pod | None = None  # the member pod as it was when it went, until that is reflected
    made: str = ""  # UID of the parent pod that had a member pod, which its status may not say yet
    foreign: Pod | None = None  # what has the pod's name in the member and is not ours
    unsure: bool = False  # a create was sent and its outcome is unknown
    finished: str = ""  # UID of the parent pod whose final delete was sent
    deleting: tuple[str, int | None] | None = None  # UID and grace of the delete that was sent
    silent_until: float = 0.0  # loop time; a member pod made a moment ago has said nothing yet
    recreated: int = 0  # how often a lost member pod was made again
    recreated_at: float = 0.0  # loop time
