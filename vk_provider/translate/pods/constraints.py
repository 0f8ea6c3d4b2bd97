"""Affinity to other pods and topology spread constraints, as the member can honour them.

The parent's scheduler has honoured all of them, with the whole member as one host. Only those over hosts mean something
more in the member. There they become preferences, because the parent has not counted on anything else.
"""

from __future__ import annotations

from typing import Any, Final

from vk_provider.translate.names import Names
from vk_provider.translate.selectors import PREFERRED, REQUIRED

HOSTNAME: Final = "kubernetes.io/hostname"
_WEIGHT: Final = 100  # of a preferred term that was required in the parent


def soften(spec: dict[str, Any], names: Names) -> None:
    """Changes `affinity` and `topologySpreadConstraints` of a parent pod's spec into those of its member pod."""
    affinity = spec.pop("affinity", None) or {}
    softened = {
        kind: {PREFERRED: terms}
        for kind in ("podAffinity", "podAntiAffinity")
        if (terms := _preferred_terms(affinity.get(kind) or {}, names))
    }
    if softened:
        spec["affinity"] = softened
    kept = [entry for entry in spec.pop("topologySpreadConstraints", None) or [] if _over_hosts(entry)]
    for entry in kept:
        entry["whenUnsatisfiable"] = "ScheduleAnyway"
        entry.pop("minDomains", None)  # valid with DoNotSchedule only
        _drop_merged_keys(entry)
    if kept:
        spec["topologySpreadConstraints"] = kept


def _preferred_terms(affinity: dict[str, Any], names: Names) -> list[dict[str, Any]]:
    weighted = [
        {"weight": _WEIGHT, "podAffinityTerm": term} for term in affinity.get(REQUIRED) or [] if _over_hosts(term)
    ]
    weighted += [entry for entry in affinity.get(PREFERRED) or [] if _over_hosts(entry.get("podAffinityTerm", {}))]
    for entry in weighted:
        term = entry["podAffinityTerm"]
        _drop_merged_keys(term)
        if term.get("namespaces"):
            term["namespaces"] = [names.namespace(name) for name in term["namespaces"]]
    return weighted


def _over_hosts(entry: dict[str, Any]) -> bool:
    return entry.get("topologyKey") == HOSTNAME


def _drop_merged_keys(term: dict[str, Any]) -> None:
    """Drops label keys that the parent's API server has merged into the selector already. The member's would merge them
    again, and then reject the pod because a key occurs twice."""
    merged = {entry.get("key") for entry in (term.get("labelSelector") or {}).get("matchExpressions") or ()}
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        if field in term:
            term[field] = [key for key in term[field] or () if key not in merged]
            if not term[field]:
                del term[field]
