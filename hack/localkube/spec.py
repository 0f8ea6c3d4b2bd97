"""The wanted shape of a cluster, and its syntax on the command line.

For example `parent`, `parent:none,metrics`, `alpha:real=2`, `gamma:fake=2,cpu=64`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from .errors import LocalkubeError

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti|P|Pi)?")
_MAX_REAL_NODES = 16
_MAX_FAKE_NODES = 8192
# Folders of the state directory that are not clusters.
_RESERVED = frozenset({"bin"})


class Kind(StrEnum):
    """The kind of a cluster's nodes."""

    NONE = "none"  # only a control plane: pods stay Pending unless another program acts as a kubelet
    REAL = "real"  # containerd and a kubelet: containers run
    FAKE = "fake"  # kwok: pods become Running without containers, at any scale


@dataclass(frozen=True)
class ClusterSpec:
    """The wanted shape of one cluster. `cpu`, `memory` and `pods` are the size of each fake node.

    `metrics`: metrics-server runs next to the control plane, so that `kubectl top` works.
    """

    name: str
    kind: Kind = Kind.NONE
    nodes: int = 0
    cpu: str = "32"
    memory: str = "128Gi"
    pods: int = 250
    metrics: bool = False

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or self.name in _RESERVED:
            raise LocalkubeError(
                f"{self.name!r} cannot be a cluster's name: use at most 30 of a-z, 0-9 and '-', starting with a letter"
            )
        limit = {Kind.NONE: 0, Kind.REAL: _MAX_REAL_NODES, Kind.FAKE: _MAX_FAKE_NODES}[self.kind]
        if not (min(limit, 1) <= self.nodes <= limit):
            raise LocalkubeError(
                f"cluster {self.name}: {self.nodes} nodes of kind {self.kind}: the number must be 1 to {limit}"
            )
        for key, value in (("cpu", self.cpu), ("memory", self.memory)):
            if not _QUANTITY.fullmatch(value):
                raise LocalkubeError(f"cluster {self.name}: {key}={value} is not a quantity such as 64 or 256Gi")
        if self.pods < 1:
            raise LocalkubeError(f"cluster {self.name}: pods={self.pods}: the number must be at least 1")

    @property
    def shape(self) -> str:
        """The part after the colon, in the syntax of `parse`."""
        match self.kind:
            case Kind.NONE:
                shape = "none"
            case Kind.REAL:
                shape = f"real={self.nodes}"
            case Kind.FAKE:
                shape = f"fake={self.nodes},cpu={self.cpu},memory={self.memory},pods={self.pods}"
        return shape + (",metrics" if self.metrics else "")

    @classmethod
    def parse(cls, text: str) -> ClusterSpec:
        """Parses `NAME[:none|real[=NODES]|fake[=NODES][,cpu=C][,memory=M][,pods=P][,metrics]]`."""
        name, colon, shape = text.partition(":")
        if not colon:
            return cls(name)
        head, *options = shape.split(",")
        kind_text, _, count = head.partition("=")
        if kind_text not in set(Kind):
            raise LocalkubeError(f"cluster {text}: unknown kind {kind_text!r}; use none, real[=NODES] or fake[=NODES]")
        kind = Kind(kind_text)
        nodes = _number(text, kind_text, count or ("0" if kind is Kind.NONE else "1"))
        sizes: dict[str, str] = {}
        metrics = "metrics" in options
        for option in options:
            if option == "metrics":
                continue
            key, _, value = option.partition("=")
            if kind is not Kind.FAKE or key not in ("cpu", "memory", "pods"):
                raise LocalkubeError(
                    f"cluster {text}: unknown option {option!r}; use metrics and, with fake, cpu=, memory=, pods="
                )
            sizes[key] = value
        default = cls(name, kind, nodes)
        return cls(
            name,
            kind,
            nodes,
            cpu=sizes.get("cpu", default.cpu),
            memory=sizes.get("memory", default.memory),
            pods=_number(text, "pods", sizes["pods"]) if "pods" in sizes else default.pods,
            metrics=metrics,
        )


def parse_specs(specs: Iterable[ClusterSpec | str]) -> list[ClusterSpec]:
    """Parses the specs that are text. Raises LocalkubeError if a name is given twice."""
    parsed = [ClusterSpec.parse(spec) if isinstance(spec, str) else spec for spec in specs]
    names = [spec.name for spec in parsed]
    for name in names:
        if names.count(name) > 1:
            raise LocalkubeError(f"cluster {name} is named {names.count(name)} times; give each name once")
    return parsed


def _number(text: str, key: str, value: str) -> int:
    if not value.isdecimal():
        raise LocalkubeError(f"cluster {text}: {key}={value} is not a whole number")
    return int(value)
