"""Which ports a virtual node tries, if it has to serve its kubelet API on a port of a given range."""

from __future__ import annotations

import zlib
from collections.abc import Collection

from vk_provider.config import PortRange


def candidates(node: str, ports: PortRange, *, published: int, of_others: Collection[int] = ()) -> list[int]:
    """All ports of the range, the best one first.

    First the one that the Node publishes (0: none), so that it stays the same over restarts. Then those that no other
    Node publishes, beginning at one that follows from the name: two nodes seldom try the same ones. Then the others.
    """
    start, size = zlib.crc32(node.encode()), ports.last - ports.first + 1
    others = frozenset(of_others)
    found = [ports.first + (start + i) % size for i in range(size)]
    return sorted(found, key=lambda port: (port != published, port in others))
