"""Container images as plain tar files (the docker-archive layout), written without a daemon or a registry."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_STICKY = frozenset({"tmp", "var/tmp"})


@dataclass(frozen=True)
class File:
    """A regular file in a layer. `content` is a file of the host, or bytes."""

    content: Path | bytes
    mode: int = 0o755


@dataclass(frozen=True)
class Link:
    """A symbolic link in a layer."""

    target: str


Layer = Mapping[str, File | Link]


@dataclass(frozen=True)
class Image:
    """An image. All `tags` name it; `layers` start with the lowest; `config` is as in the OCI image specification."""

    tags: Sequence[str]
    layers: Sequence[Layer]
    config: Mapping[str, Any] = field(default_factory=dict)


def write(target: Path, images: Sequence[Image], architecture: str) -> None:
    """Writes one archive. It holds a layer that several images share once. The bytes depend only on the input."""
    manifest = []
    packed: dict[int, str] = {}
    with tarfile.open(target, "w") as archive:
        for image in images:
            digests = []
            for layer in image.layers:
                if id(layer) not in packed:
                    data = _pack(layer)
                    packed[id(layer)] = hashlib.sha256(data).hexdigest()
                    _add(archive, f"{packed[id(layer)]}/layer.tar", data)
                digests.append(packed[id(layer)])
            config = json.dumps(
                {
                    "architecture": architecture,
                    "os": "linux",
                    "config": dict(image.config),
                    "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
                    "history": [{"created_by": "localkube"} for _ in digests],
                }
            ).encode()
            name = f"{hashlib.sha256(config).hexdigest()}.json"
            _add(archive, name, config)
            layers = [f"{digest}/layer.tar" for digest in digests]
            manifest.append({"Config": name, "RepoTags": list(image.tags), "Layers": layers})
        _add(archive, "manifest.json", json.dumps(manifest).encode())


def _pack(layer: Layer) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for directory in _directories(layer):
            info = tarfile.TarInfo(directory)
            info.type = tarfile.DIRTYPE
            info.mode = 0o1777 if directory in _STICKY else 0o755
            tar.addfile(info)
        for name, entry in layer.items():
            info = tarfile.TarInfo(name)
            match entry:
                case Link(target):
                    info.type, info.linkname = tarfile.SYMTYPE, target
                    tar.addfile(info)
                case File(content, mode):
                    data = content if isinstance(content, bytes) else content.read_bytes()
                    info.size, info.mode = len(data), mode
                    tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _directories(layer: Layer) -> list[str]:
    """The folders of the layer's files, and the few folders that programs expect; parents come first."""
    found = {"tmp", "var/tmp", "etc", "root", "home"} if any("/" in name for name in layer) else set()
    for name in layer:
        found.update(str(parent) for parent in Path(name).parents)
    parents = {str(parent) for name in found for parent in Path(name).parents}
    return sorted((found | parents) - {"."})


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(data)
    archive.addfile(info, io.BytesIO(data))
