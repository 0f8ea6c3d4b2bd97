"""Labels and annotations in the text format that the downward API writes into a file.

The member pod has more of them than the parent pod. Its containers read a text that is kept in an annotation, which the
member's kubelet keeps up to date as it does any other.
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
    """Lines of `key="value"`, sorted by key, without a final newline
    (https://kubernetes.io/docs/concepts/workloads/pods/downward-api/).
    """
    return "\n".join(f'{key}="{"".join(map(_escaped, value))}"' for key, value in sorted(pairs.items()))


def _escaped(char: str) -> str:
    """A character as in Go's %q, which a kubelet uses."""
    if char in _ESCAPES:
        return _ESCAPES[char]
    if char.isprintable():
        return char
    code = ord(char)
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
