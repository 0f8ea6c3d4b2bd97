"""The downward API: where the member pod keeps what its containers read of the parent pod.

Fields that differ in the member are kept in annotations. Labels and annotations are shown in files in a text format.
The member pod has more of them than the parent pod, so the whole text is an annotation, which the member's kubelet
keeps up to date as it does any other.

A parent may be a member itself. What a provider above has kept in the parent pod, for the same reason, belongs to the
containers: a pod's `spec.nodeName` is the node of the cluster that its user talks to.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, MutableMapping, Set
from typing import Final

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata

# fieldPath in the parent -> annotation or label with the same value in the member.
_PATHS: Final = {
    "metadata.uid": f"metadata.annotations['{wellknown.PARENT_UID}']",
    "spec.nodeName": f"metadata.labels['{wellknown.NODE_LABEL}']",
    "spec.serviceAccountName": f"metadata.annotations['{wellknown.PARENT_SERVICE_ACCOUNT}']",
    "metadata.labels": f"metadata.annotations['{wellknown.PARENT_LABELS}']",
    "metadata.annotations": f"metadata.annotations['{wellknown.PARENT_ANNOTATIONS}']",
    **{
        f"metadata.labels['{label}']": f"metadata.annotations['{annotation}']"
        for label, annotation in wellknown.PARENT_TOPOLOGY.items()
    },
}
_OWN_PATH: Final = re.compile(rf"metadata\.(labels|annotations)\['{re.escape(wellknown.DOMAIN)}/(.+)'\]")
# Bytes of all annotations of an object, less what the member's admission may add.
# (k8s.io/apimachinery/pkg/api/validation: TotalAnnotationSizeLimitB)
_ROOM: Final = 256 * 1024 - 4096
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

# Characters that Unicode 15.0 has added and Go prints, as first and last code points: Python 3.11 does not know them.
_SINCE_15: Final = (
    (0xCF3, 0xCF3), (0xECE, 0xECE), (0x10EFD, 0x10EFF), (0x1123F, 0x11241), (0x11B00, 0x11B09), (0x11F00, 0x11F10),
    (0x11F12, 0x11F3A), (0x11F3E, 0x11F59), (0x1342F, 0x1342F), (0x13440, 0x13455), (0x1B132, 0x1B132),
    (0x1B155, 0x1B155), (0x1D2C0, 0x1D2D3), (0x1DF25, 0x1DF2A), (0x1E030, 0x1E06D), (0x1E08F, 0x1E08F),
    (0x1E4D0, 0x1E4F9), (0x1F6DC, 0x1F6DC), (0x1F774, 0x1F776), (0x1F77B, 0x1F77F), (0x1F7D9, 0x1F7D9),
    (0x1FA75, 0x1FA77), (0x1FA87, 0x1FA88), (0x1FAAD, 0x1FAAF), (0x1FABB, 0x1FABD), (0x1FABF, 0x1FABF),
    (0x1FACE, 0x1FACF), (0x1FADA, 0x1FADB), (0x1FAE8, 0x1FAE8), (0x1FAF7, 0x1FAF8), (0x2B739, 0x2B739),
    (0x31350, 0x323AF),
)  # fmt: skip


def member_path(path: str, prefix: str) -> str:
    """The fieldPath in the member that has the value of a fieldPath in the parent. `prefix`: that of namespaces."""
    if path == "metadata.namespace":
        return f"metadata.annotations['{wellknown.PARENT_NAMESPACE}']" if prefix else path
    if own := _OWN_PATH.fullmatch(path):
        return f"metadata.annotations['{_of_outer(own)}']"
    return _PATHS.get(path, path)


def kept(parent: Metadata, shown: Iterable[str]) -> dict[str, str]:
    """Annotations of the member pod that hold what these fieldPaths of the parent pod show, if nothing else does."""
    found = {}
    for path in shown:
        if path == "metadata.labels":
            found[wellknown.PARENT_LABELS] = text(parent.labels)
        elif path == "metadata.annotations":
            found[wellknown.PARENT_ANNOTATIONS] = text(_as_a_kubelet_has_them(parent))
        elif own := _OWN_PATH.fullmatch(path):
            pairs = parent.labels if own[1] == "labels" else parent.annotations
            if (value := pairs.get(f"{wellknown.DOMAIN}/{own[2]}")) is not None:
                found[_of_outer(own)] = value
        else:
            for label, annotation in wellknown.PARENT_TOPOLOGY.items():
                if path == f"metadata.labels['{label}']" and label in parent.labels:
                    found[annotation] = parent.labels[label]
    return found


def make_room(annotations: MutableMapping[str, str], parent: Metadata, shown: Set[str]) -> None:
    """Leaves out annotations of the parent pod, the largest first, if an API server would refuse all of them together
    with the text that shows them. Containers read them in that text; one that is shown by itself stays.
    """
    if wellknown.PARENT_ANNOTATIONS not in annotations:
        return
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    candidates = (key for key in parent.annotations if f"metadata.annotations['{key}']" not in shown)
    for key in sorted(candidates, key=lambda key: len(parent.annotations[key]), reverse=True):
        if size <= _ROOM:
            return
        if key in annotations and not key.startswith(f"{wellknown.DOMAIN}/"):
            size -= len(key.encode()) + len(annotations.pop(key).encode())


def _of_outer(own: re.Match[str]) -> str:
    """The annotation that keeps a label or an annotation of ours that a provider above has set."""
    return f"{wellknown.OUTER}{'label-' if own[1] == 'labels' else ''}{own[2]}"


def _as_a_kubelet_has_them(parent: Metadata) -> dict[str, str]:
    """Annotations with those that a kubelet adds to every pod of an API server when it first sees it."""
    seen = {"kubernetes.io/config.seen": parent.creation_timestamp} if parent.creation_timestamp else {}
    return parent.annotations | seen | {"kubernetes.io/config.source": "api"}


def text(pairs: Mapping[str, str]) -> str:
    """Lines of `key="value"`, sorted by key, without a final newline
    (https://kubernetes.io/docs/concepts/workloads/pods/downward-api/).
    """
    return "\n".join(f'{key}="{"".join(map(_escaped, value))}"' for key, value in sorted(pairs.items()))


def _escaped(char: str) -> str:
    """A character as in Go's %q, which a kubelet uses.

    Go prints what Unicode 15.0 calls printable. Python's `isprintable` is the same rule with the tables of its own
    version: characters that are newer than 15.0 are not escaped by a Python that knows them.
    """
    if char in _ESCAPES:
        return _ESCAPES[char]
    code = ord(char)
    if char.isprintable() or _since_15(code):
        return char
    if code < 0x20 or code == 0x7F:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _since_15(code: int) -> bool:
    index = bisect_right(_SINCE_15, (code, 0x10FFFF)) - 1
    return index >= 0 and code <= _SINCE_15[index][1]
