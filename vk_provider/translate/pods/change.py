"""Changes of a parent pod that can be applied to its running member pod.

Images and resources are patched only if the parent pod has changed since they were last applied *and* the member pod
differs from it: what the member's admission has made of them stays.
(https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement)
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.pods.pod import (
    Target,
    applied_record,
    image_part,
    member_pod,
    member_spec,
    resizable,
    resources_part,
)
from vk_provider.translate.references import STARTED_LISTS

# The member's API server sets these labels to those of the node when it binds the pod.
_SET_AT_BINDING: Final = frozenset({"topology.kubernetes.io/zone", "topology.kubernetes.io/region"})


@dataclass(frozen=True)
class Change:
    """One strategic merge patch to the pod or to one of its subresources."""

    subresource: str
    patch: dict[str, Any]


def changes(parent: Pod, member: Pod, target: Target) -> list[Change]:
    """The patches that bring the member pod up to date, in order; none if it is. Each carries the member pod's UID.

    The last one also records that all of them were sent.
    """
    wanted = member_pod(parent, target)
    spec = fields(member.spec)
    before, after = _applied_before(member), applied_record(wanted["spec"])
    stale = {part for part in before.keys() | after.keys() if before.get(part) != after.get(part)}
    found: list[Change] = []
    if resized := _resources(wanted["spec"], spec, stale):
        found.append(Change("resize", {"spec": resized}))
    if added := _ephemeral(parent, spec, target):
        found.append(Change("ephemeralcontainers", {"spec": {"ephemeralContainers": added}}))
    main: dict[str, Any] = {}
    if metadata := _metadata(wanted["metadata"], member):
        main["metadata"] = metadata
    if changed := _spec(wanted["spec"], spec, stale):
        main["spec"] = changed
    if main:
        found.append(Change("", main))
    return [_with_uid(change, member.metadata.uid) for change in found]


def parts(change: Change) -> list[Change]:
    """A patch that the member refused as several smaller ones, one for each field; none if it has only one.

    Labels come first: they do not depend on anything. The annotations record what was applied, so they come last.
    """
    metadata, spec = change.patch["metadata"], change.patch.get("spec", {})
    fields_of = [("metadata", "labels", metadata.get("labels"))]
    fields_of += [("spec", field, value) for field, value in spec.items()]
    fields_of += [("metadata", "annotations", metadata.get("annotations"))]
    found = [
        Change(change.subresource, {part: {field: value}}) for part, field, value in fields_of if value is not None
    ]
    return [_with_uid(one, metadata["uid"]) for one in found] if len(found) > 1 else []


def _applied_before(member: Pod) -> dict[str, Any]:
    """The record of what was last applied; an empty one if another client in the member has damaged it."""
    try:
        return msgspec.json.decode(member.metadata.annotations.get(wellknown.APPLIED) or "{}", type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _with_uid(change: Change, uid: str) -> Change:
    metadata = {**change.patch.get("metadata", {}), "uid": uid}
    return Change(change.subresource, {**change.patch, "metadata": metadata})


def _metadata(wanted: Mapping[str, Any], member: Pod) -> dict[str, Any]:
    """Only keys of the parent are added, changed or removed. Keys that the member adds stay as they are."""
    keys = _earlier_keys(member)
    changed: dict[str, Any] = {}
    for field, new, old, earlier in (
        ("labels", wanted["labels"], member.metadata.labels, keys[0]),
        ("annotations", wanted["annotations"], member.metadata.annotations, keys[1]),
    ):
        difference: dict[str, str | None] = {
            key: value for key, value in new.items() if old.get(key) != value and key not in _SET_AT_BINDING
        }
        difference |= {key: None for key in earlier if key not in new and key in old}
        if difference:
            changed[field] = difference
    return changed


def _earlier_keys(member: Pod) -> tuple[list[str], list[str]]:
    try:
        return msgspec.json.decode(
            member.metadata.annotations.get(wellknown.METADATA_KEYS, "[[],[]]"), type=tuple[list[str], list[str]]
        )
    except msgspec.DecodeError:
        return [], []  # another client in the member has changed it; it is restored together with the other annotations


def _spec(wanted: Mapping[str, Any], actual: Mapping[str, Any], stale: Set[str]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for kind in STARTED_LISTS:
        images = {container["name"]: container.get("image") for container in actual.get(kind) or ()}
        different = [
            {"name": container["name"], "image": container["image"]}
            for container in wanted.get(kind) or ()
            if image_part(kind, container["name"]) in stale
            and container.get("image")
            and container["name"] in images
            and images[container["name"]] != container["image"]
        ]
        if different:
            changed[kind] = different
    deadline = wanted.get("activeDeadlineSeconds")
    # The API allows only to set or to shorten it.
    if deadline is not None and deadline < actual.get("activeDeadlineSeconds", deadline + 1):
        changed["activeDeadlineSeconds"] = deadline
    if tolerations := _tolerations(wanted.get("tolerations") or [], actual.get("tolerations") or []):
        changed["tolerations"] = tolerations
    return changed


def _tolerations(wanted: list[dict[str, Any]], actual: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The list to set; empty if it is up to date. The API allows to add tolerations and to change their seconds."""

    def key(entry: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
        return tuple(sorted((name, value) for name, value in entry.items() if name != "tolerationSeconds"))

    ours = {key(entry) for entry in wanted}
    members = [entry for entry in actual if key(entry) not in ours]
    if all(entry in actual for entry in wanted) and all(entry in wanted or entry in members for entry in actual):
        return []
    return members + wanted


def _resources(wanted: Mapping[str, Any], actual: Mapping[str, Any], stale: Set[str]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    for kind in STARTED_LISTS:
        have = {container["name"]: container.get("resources") or {} for container in actual.get(kind) or ()}
        different = [
            {"name": container["name"], "resources": resources}
            for container in wanted.get(kind) or ()
            if resources_part(kind, container["name"]) in stale
            and (resources := resizable(container.get("resources")))
            and container["name"] in have
            and _differ(resources, have[container["name"]])
        ]
        if different:
            changed[kind] = different
    pod_level = resizable(wanted.get("resources"))
    if resources_part() in stale and pod_level and _differ(pod_level, actual.get("resources") or {}):
        changed["resources"] = pod_level
    return changed


def _differ(wanted: Mapping[str, Any], actual: Mapping[str, Any]) -> bool:
    """Whether a wanted quantity is not there. Defaults that the member has added do not count."""
    return any(
        (actual.get(kind) or {}).get(name) != value
        for kind, quantities in wanted.items()
        for name, value in quantities.items()
    )


def _ephemeral(parent: Pod, actual: Mapping[str, Any], target: Target) -> list[dict[str, Any]]:
    spec = fields(parent.spec)
    have = {container["name"] for container in actual.get("ephemeralContainers") or ()}
    missing = [container for container in spec.get("ephemeralContainers") or () if container["name"] not in have]
    if not missing:
        return []
    # The rules for other containers apply (environment, field references, mounts): translate them as such, and once.
    del spec["ephemeralContainers"]
    spec["containers"] += missing
    translated: list[dict[str, Any]] = member_spec(spec, parent, target)["containers"]
    return translated[-len(missing) :]
