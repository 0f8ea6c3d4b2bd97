"""Member pods without a parent pod, and other differences between both sides of a member that returns.

Too many orphans at once need a second look before they are deleted. A parent that shows no pods may be one that was
restored from an old backup, or the wrong one. Such an error would cost everything that runs in the member.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from vk_provider.api import wellknown
from vk_provider.kube.objects import HasMetadata, Metadata, Pod, pod_phase
from vk_provider.translate.names import Names

_FEW: Final = 10  # this many are never too many
_OF_STATEFUL_SET: Final = "statefulset.kubernetes.io/pod-name"  # label that its controller gives each pod


def is_orphan(parent: Pod | None, member: Pod, names: Names) -> bool:
    """Whether a member pod of ours exists, is not being deleted, and has no parent pod: that is deleted, or another pod
    has its name.
    """
    if member.metadata.deletion_timestamp is not None or not names.owns(member.metadata.labels):
        return False
    return parent is None or parent.metadata.uid != member.metadata.annotations.get(wellknown.PARENT_UID)


def too_many(orphans: int, total: int) -> bool:
    """Whether the deletion of so many of all member pods needs a second look."""
    return orphans > _FEW and 2 * orphans > total


def runs_at_most_once(member: Pod) -> bool:
    """Whether two of a member pod at the same time would do harm: it is of a StatefulSet, or its parent pod says so."""
    metadata = member.metadata
    return _OF_STATEFUL_SET in metadata.labels or metadata.annotations.get(wellknown.AT_MOST_ONCE) == "true"


@dataclass(frozen=True)
class OutOfSync:
    """A difference between both sides of a member that returns. `key` is that of the parent pod, also if none exists.

    `hangs`: the pod is being deleted in the member and has ended; what keeps it (a volume, a finalizer) is not ours.
    """

    key: str
    member_uid: str
    what: str
    hangs: bool = False

    def __str__(self) -> str:
        return f"pod {self.key} {self.what}"


def out_of_sync(parents: Mapping[str, Pod], members: Iterable[Pod], names: Names) -> Iterator[OutOfSync]:
    """The differences between both sides of a member that returns.

    Differences are: an orphan; a member pod whose parent pod is being deleted, while it is not; and a member pod that
    has ended, which the parent pod does not show.
    """
    for member in members:
        key, uid = names.parent_key(member.metadata), member.metadata.uid
        parent, removed = parents.get(key), member.metadata.deletion_timestamp is not None
        if is_orphan(parent, member, names):
            yield OutOfSync(key, uid, "has no parent pod any more")
        elif parent is None or parent.metadata.uid != member.metadata.annotations.get(wellknown.PARENT_UID):
            continue  # it is being deleted
        elif parent.metadata.deletion_timestamp is not None:
            if not removed:
                yield OutOfSync(key, uid, "is deleted, and not yet in the member")
        elif pod_phase(member).ended and not pod_phase(parent).ended:
            what = "has ended and hangs in its deletion in the member" if removed else "has ended"
            yield OutOfSync(key, uid, what, hangs=removed)


def outdated(cached: Mapping[str, HasMetadata], listed: Collection[Metadata], version: str) -> str:
    """Key of the first object of which the cache is older than a list of the same objects at `version`; empty if there
    is none.
    """
    for item in listed:
        known = cached.get(item.key)
        if known is None or int(known.metadata.resource_version) < int(item.resource_version):
            return item.key
    existing = {item.key for item in listed}
    deleted = (
        key
        for key, item in cached.items()
        if key not in existing and int(item.metadata.resource_version) <= int(version)
    )
    return next(deleted, "")
