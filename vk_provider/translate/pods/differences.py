"""Differences between a parent pod and its member pod, each with its reason: for `render`, the Event and the docs.

They are found by comparison of the two pods, so that no difference can be forgotten.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from vk_provider.api.membercluster import ApiAccess
from vk_provider.translate.pods.constraints import HOSTNAME
from vk_provider.translate.pods.pod import API_VARIABLES, DROPPED, Target
from vk_provider.translate.references import STARTED_LISTS, claims, name_fields
from vk_provider.translate.selectors import PREFERRED, REQUIRED

What = Literal["dropped", "rewritten", "added", "not copied"]


@dataclass(frozen=True)
class Difference:
    """A field that is not the same in the member pod. `missed`: a user may rely on what is lost."""

    field: str
    what: What
    why: str
    missed: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.why}"


Missed = Callable[[Any, Target], bool]
"""Whether a user misses this value of the parent pod."""


def _never(_value: Any, _target: Target) -> bool:
    return False


def _always(_value: Any, _target: Target) -> bool:
    return True


def _keeps_hosts_apart(terms: Any, _target: Target) -> bool:
    return any(term.get("topologyKey") == HOSTNAME for term in terms or ())


def _spreads_over_hosts(entries: Any, _target: Target) -> bool:
    return any(
        entry.get("topologyKey") == HOSTNAME and entry.get("whenUnsatisfiable") == "DoNotSchedule"
        for entry in entries or ()
    )


def _has_no_identity(account: Any, target: Target) -> bool:
    return target.api_access is ApiAccess.MEMBER and account not in (None, "", "default")


@dataclass(frozen=True)
class _Rule:
    why: str
    missed: Missed = _never
    why_missed: str = ""


_SOFTENED: Final = f"over {HOSTNAME} only preferred within the member; over anything else honoured in the parent"
_PLATFORM: Final = "refers to nodes of the parent, and has been honoured there; os and arch hold in the member, too"
_HONOURED: Final = "refers to pods of the parent, and has been honoured there"
_COPY: Final = "the copy of the parent's object, which has a name of its own in the member"
_PARENTS_VALUE: Final = "shows the value in the parent"
_ADDRESS: Final = "the API server of the parent (apiAccess Parent)"
_NO_TOKEN: Final = "no token is given out (apiAccess None)"

# Field (an entry of a list is []) -> why it differs. A field below one of these has the same reason.
RULES: Final[Mapping[str, _Rule]] = {
    "metadata.namespace": _Rule("namespaces have a prefix in the member"),
    "metadata.labels": _Rule("labels of vk-provider.io belong to the provider: they identify the pod as its own"),
    "metadata.annotations": _Rule("annotations of vk-provider.io belong to the provider: they lead to the parent pod"),
    "metadata.ownerReferences": _Rule("owners are in the parent; in the member it is the namespace"),
    "metadata.finalizers": _Rule("they apply to the parent pod"),
    "metadata.generateName": _Rule("the pod has its name already"),
    **{f"spec.{field}": _Rule(why) for field, why in DROPPED.items()},
    "spec.serviceAccountName": _Rule(
        DROPPED["serviceAccountName"],
        _has_no_identity,
        "in the member the pod is `default` of its namespace (apiAccess Member)",
    ),
    "spec.nodeSelector": _Rule(_PLATFORM),
    "spec.hostAliases": _Rule(_ADDRESS),
    "spec.affinity": _Rule("refers to nodes and pods of the parent, and has been honoured there"),
    "spec.affinity.nodeAffinity": _Rule(_PLATFORM),
    "spec.affinity.podAffinity": _Rule(_HONOURED),
    "spec.affinity.podAntiAffinity": _Rule(_HONOURED),
    f"spec.affinity.podAffinity.{REQUIRED}": _Rule(_SOFTENED, _keeps_hosts_apart),
    f"spec.affinity.podAffinity.{PREFERRED}": _Rule(_SOFTENED),
    f"spec.affinity.podAntiAffinity.{REQUIRED}": _Rule(_SOFTENED, _keeps_hosts_apart),
    f"spec.affinity.podAntiAffinity.{PREFERRED}": _Rule(_SOFTENED),
    "spec.topologySpreadConstraints": _Rule(_SOFTENED, _spreads_over_hosts),
    **{f"spec.{field}": _Rule(_COPY) for field in name_fields()},
    "spec.automountServiceAccountToken": _Rule("the member's own token is not for this pod"),
    "spec.tolerations": _Rule("spec.tolerations of the MemberCluster: taints of the member's nodes"),
    **{
        f"spec.{kind}[].{field}": rule
        for kind in STARTED_LISTS
        for field, rule in {
            "env": _Rule(_ADDRESS),
            **{f"env[{name}]": _Rule(_ADDRESS) for name in API_VARIABLES},
            "env[].valueFrom.fieldRef.fieldPath": _Rule(_PARENTS_VALUE),
            "resources": _Rule("no node of the member has them: they count in the parent only", _always),
            "volumeMounts": _Rule(_NO_TOKEN),
        }.items()
    },
    "spec.volumes[]": _Rule(_NO_TOKEN),
    "spec.volumes[].downwardAPI.items[].fieldRef.fieldPath": _Rule(_PARENTS_VALUE),
    "spec.volumes[].projected.sources": _Rule(_NO_TOKEN, _always),
    "spec.volumes[].projected.sources[].serviceAccountToken": _Rule(
        "a token of the parent, which a Secret in the member holds (apiAccess Parent)"
    ),
    "spec.volumes[].projected.sources[].clusterTrustBundle": _Rule(
        "bundles of the parent, which a ConfigMap in the member holds"
    ),
    "spec.volumes[].projected.sources[].podCertificate": _Rule(
        "a certificate that the parent signs, which a Secret in the member holds"
    ),
    "spec.volumes[].projected.sources[].secret": _Rule("holds what is dropped here, and is renewed"),
    "spec.volumes[].projected.sources[].configMap": _Rule("holds what is dropped here, and follows it"),
    "spec.volumes[].projected.sources[].downwardAPI.items[].fieldRef.fieldPath": _Rule(_PARENTS_VALUE),
}
CLAIMED: Final = "storage is the member's own: a claim with that name must exist there"
_SET_BY_SERVERS: Final = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"}
)
_IDENTIFYING: Final = ("name", "mountPath", "path")
_ENTRY: Final = re.compile(r"\[[^]]*\]")


def differences(parent: Mapping[str, Any], member: Mapping[str, Any], target: Target) -> list[Difference]:
    """In the order of the parent's manifest, each field once. Both are manifests; the parent's may be only the spec."""
    found: dict[str, Difference] = {}
    for part in (_metadata(parent, member), _Step("spec", parent["spec"], member["spec"])):
        for steps in _walk((part,)):
            difference = _explained(steps, target)
            found.setdefault(difference.field, difference)
    for volume in claims(parent["spec"]):
        field = f"spec.volumes[{volume['name']}].persistentVolumeClaim"
        found[field] = Difference(field, "not copied", CLAIMED, missed=True)
    return list(found.values())


@dataclass(frozen=True)
class _Step:
    """A field on the path to a difference, and its value on both sides; None: it is absent."""

    field: str
    parent: Any
    member: Any


def _metadata(parent: Mapping[str, Any], member: Mapping[str, Any]) -> _Step:
    if "metadata" not in parent:
        return _Step("metadata", None, None)
    ours = {key: value for key, value in parent["metadata"].items() if key not in _SET_BY_SERVERS}
    return _Step("metadata", ours, member["metadata"])


def _walk(steps: tuple[_Step, ...]) -> Iterator[tuple[_Step, ...]]:
    """The path to each difference, as deep as both sides can be compared."""
    here = steps[-1]
    if here.parent == here.member:
        return
    if isinstance(here.parent, Mapping) and isinstance(here.member, Mapping):
        ours, theirs, form = here.parent, here.member, "{}.{}"
    elif isinstance(here.parent, list) and isinstance(here.member, list) and _comparable(here.parent, here.member):
        ours, theirs, form = _by_name(here.parent), _by_name(here.member), "{}[{}]"
        if len(ours) == len(theirs) and ours.keys().isdisjoint(theirs):  # all have other names: by position
            ours, theirs = _by_position(here.parent), _by_position(here.member)
    else:
        yield steps
        return
    for key in (*ours, *(key for key in theirs if key not in ours)):
        yield from _walk((*steps, _Step(form.format(here.field, key), ours.get(key), theirs.get(key))))


def _comparable(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether the entries of both lists can be matched."""
    return len(ours) == len(theirs) or all(_name(entry) is not None for entry in (*ours, *theirs))


def _name(entry: Any) -> str | None:
    return next((entry[key] for key in _IDENTIFYING if key in entry), None) if isinstance(entry, Mapping) else None


def _by_name(entries: list[Any]) -> dict[str, Any]:
    """Entries of a list by name; those without a name by index."""
    found: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for index, entry in enumerate(entries):
        name = str(_name(entry) or index)
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name}#{seen[name]}"] = entry
    return found


def _by_position(entries: list[Any]) -> dict[str, Any]:
    return {str(index): entry for index, entry in enumerate(entries)}


def _explained(steps: tuple[_Step, ...], target: Target) -> Difference:
    for step in reversed(steps):
        unnamed = _ENTRY.sub("[]", step.field)
        if rule := RULES.get(unnamed) or RULES.get(_ENTRY.sub("[]", step.field, count=1)):
            missed = rule.missed(step.parent, target)
            return Difference(step.field, _what(step), (missed and rule.why_missed) or rule.why, missed)
    return Difference(steps[-1].field, _what(steps[-1]), "", missed=True)


def _what(step: _Step) -> What:
    if step.member is None:
        return "dropped"
    return "added" if step.parent is None else "rewritten"
