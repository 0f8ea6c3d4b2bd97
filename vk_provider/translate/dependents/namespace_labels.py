"""Labels of ours on namespaces of a member, by which translated NetworkPolicies select them.

Only the keys that a NetworkPolicy selects get there, each under a key of ours: the parent's own labels could have a
meaning in the member. A namespace that lacks one of the parent's labels has a value for that, so that every translated
requirement needs a label of ours. A namespace that has none, because it is not ours or is not labelled yet, satisfies
no requirement, and none that is negative.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Set
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata
from vk_provider.translate.names import Names

_NAME: Final = 36  # characters of the original name: with prefix and hash, a name has 63 at most
_FIELDS: Final = frozenset({"matchLabels", "matchExpressions"})


def member_label(key: str) -> str:
    """The key in the member for a label key of the parent's namespaces. A hash keeps keys apart that are alike."""
    name = key.rpartition("/")[2][:_NAME]
    return f"{wellknown.NAMESPACE_LABEL}{name}-{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def selected_keys(selectors: Iterable[Mapping[str, Any]]) -> frozenset[str]:
    """The label keys that these selectors name."""
    keys: set[str] = set()
    for selector in selectors:
        keys |= (selector.get("matchLabels") or {}).keys()
        keys |= {expression["key"] for expression in selector.get("matchExpressions") or ()}
    return frozenset(keys)


def member_labels(labels: Mapping[str, str], keys: Set[str]) -> dict[str, str]:
    """What a namespace of the member gets for these keys, if the parent's namespace has these labels.

    A value that would read as "has no such label" is left out: nothing selects it then.
    """
    return {
        member_label(key): labels.get(key, wellknown.NO_LABEL) for key in keys if labels.get(key) != wellknown.NO_LABEL
    }


def labels_patch(namespace: Metadata, wanted: Mapping[str, str]) -> dict[str, Any] | None:
    """The merge patch, with the UID, that gives a namespace of the member these labels of ours; None if it has them."""
    there = {key: value for key, value in namespace.labels.items() if key.startswith(wellknown.NAMESPACE_LABEL)}
    changed: dict[str, str | None] = {key: value for key, value in wanted.items() if there.get(key) != value}
    changed |= dict.fromkeys(there.keys() - wanted.keys())
    return {"metadata": {"uid": namespace.uid, "labels": changed}} if changed else None


def member_selector(selector: Mapping[str, Any], names: Names) -> dict[str, Any] | None:
    """The namespaceSelector in the member; None if it cannot be expressed. It selects no namespace of others."""
    if selector.keys() - _FIELDS:
        return None
    wanted = selector.get("matchLabels") or {}
    labels = {member_label(key): value for key, value in wanted.items()}
    if wellknown.NO_LABEL in wanted.values():
        return None
    expressions: list[dict[str, Any]] = []
    for expression in selector.get("matchExpressions") or ():
        translated = _requirements(expression)
        if translated is None:
            return None
        expressions += translated
    found: dict[str, Any] = {"matchLabels": labels | {wellknown.PARENT_LABEL: names.parent}}
    return found | {"matchExpressions": expressions} if expressions else found


def _requirements(expression: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The same requirement on a key of ours. Every one of them needs the label to exist."""
    key, values = member_label(expression["key"]), expression.get("values") or []
    there: dict[str, Any] = {"key": key, "operator": "Exists"}
    match expression.get("operator"):
        case "In":
            values = [value for value in values if value != wellknown.NO_LABEL]
            return [{"key": key, "operator": "In", "values": values}] if values else None
        case "NotIn":
            return [there, {"key": key, "operator": "NotIn", "values": values}]
        case "Exists":
            return [there, {"key": key, "operator": "NotIn", "values": [wellknown.NO_LABEL]}]
        case "DoesNotExist":
            return [{"key": key, "operator": "In", "values": [wellknown.NO_LABEL]}]
    return None
