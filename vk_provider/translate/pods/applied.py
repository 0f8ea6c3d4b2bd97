"""What of a member pod's images and resources the parent pod had last, as a record in an annotation.

A member's admission may turn them into something else: images of a mirror, larger requests. Compared with that, every
look would find a difference and undo it, on a running container. Compared with the record, there is one only where the
parent pod has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

Record = dict[str, Any]

_RESIZABLE: Final = ("cpu", "memory")


def record(spec: Mapping[str, Any]) -> Record:
    """Part of a translated spec -> what it is. A part that is absent or empty is not there."""
    return {part: value for part, value in _parts(spec) if value}


def decode(text: str) -> Record:
    """The record as an annotation holds it; an empty one where somebody has spoilt it."""
    try:
        return msgspec.json.decode(text or "{}", type=Record)
    except msgspec.DecodeError:
        return {}


def encode(found: Record) -> str:
    """For an annotation."""
    return msgspec.json.encode(found, order="sorted").decode()


def image(kind: str, container: str) -> str:
    """Name of the part that is a container's image; `kind` is the list that it is in."""
    return f"{kind}/{container}/image"


def resources(kind: str = "", container: str = "") -> str:
    """Name of the part that is a container's resources, or the pod's own."""
    return f"{kind}/{container}/resources" if container else "resources"


def resizable(resources: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of resources that a resize may change
    (https://kubernetes.io/docs/tasks/configure-pod-container/resize-container-resources/#limitations).
    """
    found = {
        kind: {name: value for name, value in ((resources or {}).get(kind) or {}).items() if name in _RESIZABLE}
        for kind in ("requests", "limits")
    }
    return {kind: quantities for kind, quantities in found.items() if quantities}


def _parts(spec: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for kind in ("initContainers", "containers"):
        for container in spec.get(kind) or ():
            yield image(kind, container["name"]), container.get("image")
            yield resources(kind, container["name"]), resizable(container.get("resources"))
    yield resources(), resizable(spec.get("resources"))
