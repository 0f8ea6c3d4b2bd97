"""Affinity and topology spread constraints, as the member can honour them.

The parent's scheduler has honoured all of them, with the whole member as one host. Those to other pods mean something
more in the member only over hosts, and spread over zones if the member has several. There they become preferences,
because the parent has not counted on anything else. Of the affinity to nodes only what is required of the platform
means the same in the member: another one could not run the pod.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.translate.names import Names
from vk_provider.translate.selectors import PREFERRED, REQUIRED

HOSTNAME: Final = "kubernetes.io/hostname"
ZONE: Final = "topology.kubernetes.io/zone"
# Labels of nodes that mean the same everywhere: the member's scheduler honours constraints on them, too.
PLATFORM: Final = frozenset({"kubernetes.io/os", "kubernetes.io/arch"})
_WEIGHT: Final = 100  # of a preferred term that was required in the parent


@dataclass(frozen=True)
class Scheduling:
    """What the scheduler of the member gets to know.

    `platform`: labels of nodes for which constraints hold in the member. `zones`: whether its nodes are in several
    zones. `priority_class`: a PriorityClass of the member.
    """

    platform: Set[str] = PLATFORM
    zones: bool = False
    priority_class: str = ""


ANY: Final = Scheduling()  # where nothing is known of the member


def soften(spec: dict[str, Any], names: Names, scheduling: Scheduling) -> None:
    """Changes `affinity` and `topologySpreadConstraints` of a parent pod's spec into those of its member pod."""
    affinity = spec.pop("affinity", None) or {}
    softened: dict[str, Any] = {
        kind: {PREFERRED: terms}
        for kind in ("podAffinity", "podAntiAffinity")
        if (terms := _preferred_terms(affinity.get(kind) or {}, names))
    }
    if terms := _platform_terms(affinity.get("nodeAffinity") or {}, scheduling.platform):
        softened["nodeAffinity"] = {REQUIRED: {"nodeSelectorTerms": terms}}
    if softened:
        spec["affinity"] = softened
    keys = (HOSTNAME, ZONE) if scheduling.zones else (HOSTNAME,)
    kept = [entry for entry in spec.pop("topologySpreadConstraints", None) or [] if entry.get("topologyKey") in keys]
    for entry in kept:
        entry["whenUnsatisfiable"] = "ScheduleAnyway"
        entry.pop("minDomains", None)  # valid with DoNotSchedule only
        _drop_merged_keys(entry)
    if kept:
        spec["topologySpreadConstraints"] = kept


def _platform_terms(affinity: dict[str, Any], platform: Set[str]) -> list[dict[str, Any]]:
    """The required terms, reduced to the platform; none if one of them allows every platform: a node needs to satisfy
    only one.
    """
    terms = [
        [e for e in term.get("matchExpressions") or () if e.get("key") in platform]
        for term in (affinity.get(REQUIRED) or {}).get("nodeSelectorTerms") or ()
    ]
    return [{"matchExpressions": expressions} for expressions in terms] if all(terms) else []


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
