"""What is left, within the member, of a pod's wishes about other pods.

The parent's scheduler has honoured them all, with the whole member as one host. Only those over hosts mean something
more in the member, and there they are wishes: the parent has counted on nothing else.
"""

from __future__ import annotations

from typing import Any, Final

from vk_provider.translate.names import Names

HOSTNAME: Final = "kubernetes.io/hostname"
REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT: Final = 100  # of what was required


def soften(spec: dict[str, Any], names: Names) -> None:
    """Changes `affinity` and `topologySpreadConstraints` of a parent's spec into the member's."""
    affinity = spec.pop("affinity", None) or {}
    softened = {
        kind: {PREFERRED: terms}
        for kind in ("podAffinity", "podAntiAffinity")
        if (terms := _wishes(affinity.get(kind) or {}, names))
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


def _wishes(affinity: dict[str, Any], names: Names) -> list[dict[str, Any]]:
    wishes = [
        {"weight": _WEIGHT, "podAffinityTerm": term} for term in affinity.get(REQUIRED) or [] if _over_hosts(term)
    ]
    wishes += [wish for wish in affinity.get(PREFERRED) or [] if _over_hosts(wish.get("podAffinityTerm", {}))]
    for wish in wishes:
        term = wish["podAffinityTerm"]
        _drop_merged_keys(term)
        if term.get("namespaces"):
            term["namespaces"] = [names.namespace(name) for name in term["namespaces"]]
    return wishes


def _over_hosts(entry: dict[str, Any]) -> bool:
    return entry.get("topologyKey") == HOSTNAME


def _drop_merged_keys(term: dict[str, Any]) -> None:
    """Drops label keys that the parent's API server has merged into the selector: the member's would merge them again,
    and then refuse the pod for naming a key twice."""
    merged = {entry.get("key") for entry in (term.get("labelSelector") or {}).get("matchExpressions") or ()}
    for field in ("matchLabelKeys", "mismatchLabelKeys"):
        if field in term:
            term[field] = [key for key in term[field] or () if key not in merged]
            if not term[field]:
                del term[field]
