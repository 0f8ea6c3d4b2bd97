"""Labels and annotations as the downward API writes them into a file.

The member pod has some more than the parent pod; what its containers read is a text kept in an annotation, which the
member's kubelet follows as it follows any other.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_ESCAPES: Final = {
    '"': '\\"',
    "\\": "\\\\",
    "\a": "\\a",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\v": "\\v",
}


def text(pairs: Mapping[str, str]) -> str:
    """One `key="value"` a line, sorted by key, without a last newline
    (https://kubernetes.io/docs/concepts/workloads/pods/downward-api/).
    """
    return "\n".join(f'{key}="{"".join(map(_escaped, value))}"' for key, value in sorted(pairs.items()))


def _escaped(char: str) -> str:
    """As Go quotes strings, for that is how a kubelet writes them."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
