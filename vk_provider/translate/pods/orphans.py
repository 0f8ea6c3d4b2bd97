"""Member pods that the parent does not know: how many are too many to be deleted without a second thought.

A parent that shows no pods may be one that was restored from an old backup, or that is not the one it should be. What
such a mistake would cost is everything that runs in the member.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Final

from vk_provider.api import wellknown
from vk_provider.kube.objects import HasMetadata, Metadata, Pod, pod_phase
from vk_provider.translate.names import Names
from vk_provider.translate.pods.decide import TERMINAL

_FEW: Final = 10  # are never too many


def is_stray(parent: Pod | None, member: Pod, names: Names) -> bool:
    """Whether a member pod lives and its parent pod does not: that is gone, or replaced under the same name."""
    if member.metadata.deletion_timestamp is not None or not names.owns(member.metadata.labels):
        return False
    return parent is None or parent.metadata.uid != member.metadata.annotations.get(wellknown.PARENT_UID)


def too_many(strays: int, total: int) -> bool:
    """Whether these deletions need a second look."""
    return strays > _FEW and 2 * strays > total


def unsettled(parents: Mapping[str, Pod], members: Iterable[Pod], names: Names) -> str:
    """What is out of order between both sides of a member that returns; empty: nothing.

    A member pod whose parent pod is gone, replaced or being deleted lives on; or one has ended, and the parent pod does
    not say so.
    """
    for member in members:
        parent = parents.get(names.parent_key(member.metadata))
        if is_stray(parent, member, names):
            return f"pod {member.metadata.key} of the member has no parent pod any more"
        if parent is None or parent.metadata.uid != member.metadata.annotations.get(wellknown.PARENT_UID):
            continue  # on its way out
        if parent.metadata.deletion_timestamp is not None:
            if member.metadata.deletion_timestamp is None:
                return f"pod {parent.metadata.key} is deleted, and not yet in the member"
        elif pod_phase(member).phase in TERMINAL and pod_phase(parent).phase not in TERMINAL:
            return f"pod {parent.metadata.key} has ended"
    return ""


def behind(cached: Mapping[str, HasMetadata], listed: Collection[Metadata], version: str) -> str:
    """The first object in which a cache is behind a list of the same objects at `version`; empty: in none."""
    for item in listed:
        known = cached.get(item.key)
        if known is None or int(known.metadata.resource_version) < int(item.resource_version):
            return item.key
    there = {item.key for item in listed}
    gone = (
        key for key, item in cached.items() if key not in there and int(item.metadata.resource_version) <= int(version)
    )
    return next(gone, "")
