"""What the translation of a pod did to it, field by field, and why: one table for `render`, the Event and the docs.

Found by comparison of the two pods, so that nothing can be done and not be said.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from vk_provider.api.membercluster import ApiAccess
from vk_provider.translate.pods.constraints import HOSTNAME, PREFERRED, REQUIRED
from vk_provider.translate.pods.pod import DROPPED, Target

What = Literal["dropped", "rewritten", "added", "not copied"]


@dataclass(frozen=True)
class Deed:
    """One field of the parent pod, and what the member pod has of it. `missed`: a user may rely on what is gone."""

    field: str
    what: What
    why: str
    missed: bool = False

    def __str__(self) -> str:
        return f"{self.field}: {self.why}"


Missed = Callable[[Any, Target], bool]


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


def _is_nobody(account: Any, target: Target) -> bool:
    return target.api_access is ApiAccess.MEMBER and account not in (None, "", "default")


@dataclass(frozen=True)
class _Rule:
    why: str
    missed: Missed = _never
    why_missed: str = ""


_WISHES: Final = f"over {HOSTNAME} a wish within the member; over anything else honoured in the parent"
_HONOURED: Final = "speaks of pods of the parent, and has been honoured there"
_ROOT_CA: Final = "the CA of the parent; the member has another of that name"
_SHOWN: Final = "shows what the parent says"
_ADDRESS: Final = "the API server of the parent (apiAccess Parent)"
_NO_TOKEN: Final = "no token is given out (apiAccess None)"

# Field (of any entry of a list: []) -> why it is another in the member. A field below one of these counts as that one.
RULES: Final[Mapping[str, _Rule]] = {
    "metadata.namespace": _Rule("namespaces have a prefix in the member"),
    "metadata.labels": _Rule("those of vk-provider.io are the provider's own: they say whose the pod is"),
    "metadata.annotations": _Rule("those of vk-provider.io are the provider's own: they lead back to the parent pod"),
    "metadata.ownerReferences": _Rule("owners are in the parent; in the member it is the namespace"),
    "metadata.finalizers": _Rule("the parent pod has them"),
    "metadata.generateName": _Rule("the pod has its name"),
    **{f"spec.{field}": _Rule(why) for field, why in DROPPED.items()},
    "spec.serviceAccountName": _Rule(
        DROPPED["serviceAccountName"],
        _is_nobody,
        "in the member the pod is `default` of its namespace (apiAccess Member)",
    ),
    "spec.affinity": _Rule("speaks of nodes and pods of the parent, and has been honoured there"),
    "spec.affinity.nodeAffinity": _Rule("speaks of nodes of the parent, and has been honoured there"),
    "spec.affinity.podAffinity": _Rule(_HONOURED),
    "spec.affinity.podAntiAffinity": _Rule(_HONOURED),
    f"spec.affinity.podAffinity.{REQUIRED}": _Rule(_WISHES, _keeps_hosts_apart),
    f"spec.affinity.podAffinity.{PREFERRED}": _Rule(_WISHES),
    f"spec.affinity.podAntiAffinity.{REQUIRED}": _Rule(_WISHES, _keeps_hosts_apart),
    f"spec.affinity.podAntiAffinity.{PREFERRED}": _Rule(_WISHES),
    "spec.topologySpreadConstraints": _Rule(_WISHES, _spreads_over_hosts),
    "spec.automountServiceAccountToken": _Rule("the member's own token is not for this pod"),
    **{
        f"spec.{kind}[].{field}": rule
        for kind in ("containers", "initContainers")
        for field, rule in {
            "env": _Rule(_ADDRESS),
            "env[KUBERNETES_SERVICE_HOST]": _Rule(_ADDRESS),
            "env[KUBERNETES_SERVICE_PORT]": _Rule(_ADDRESS),
            "env[].valueFrom.fieldRef.fieldPath": _Rule(_SHOWN),
            "env[].valueFrom.configMapKeyRef.name": _Rule(_ROOT_CA),
            "envFrom[].configMapRef.name": _Rule(_ROOT_CA),
            "resources": _Rule("no node of the member has them: they count in the parent only", _always),
            "volumeMounts": _Rule(_NO_TOKEN),
        }.items()
    },
    "spec.volumes[]": _Rule(_NO_TOKEN),
    "spec.volumes[].configMap.name": _Rule(_ROOT_CA),
    "spec.volumes[].downwardAPI.items[].fieldRef.fieldPath": _Rule(_SHOWN),
    "spec.volumes[].projected.sources": _Rule(_NO_TOKEN, _always),
    "spec.volumes[].projected.sources[].serviceAccountToken": _Rule(
        "a token of the parent, which a Secret beside the pod holds (apiAccess Parent)"
    ),
    "spec.volumes[].projected.sources[].clusterTrustBundle": _Rule(
        "bundles of the parent, which a ConfigMap beside the pod holds"
    ),
    "spec.volumes[].projected.sources[].podCertificate": _Rule(
        "a certificate that the parent signs, which a Secret beside the pod holds"
    ),
    "spec.volumes[].projected.sources[].secret": _Rule("holds what is dropped here, and is renewed"),
    "spec.volumes[].projected.sources[].configMap": _Rule("holds what is dropped here, and follows it"),
    "spec.volumes[].projected.sources[].configMap.name": _Rule(_ROOT_CA),
    "spec.volumes[].projected.sources[].downwardAPI.items[].fieldRef.fieldPath": _Rule(_SHOWN),
}
CLAIMED: Final = "storage is the member's own: a claim of that name must be there"
_SERVERS_OWN: Final = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink"}
)
_NAMED_BY: Final = ("name", "mountPath", "path")
_ENTRY: Final = re.compile(r"\[[^]]*\]")


def deeds(parent: Mapping[str, Any], member: Mapping[str, Any], target: Target) -> list[Deed]:
    """In the order of the parent's manifest, each field once. Both are manifests; the parent's may be the spec only."""
    found: dict[str, Deed] = {}
    for part in (_metadata(parent, member), _Step("spec", parent["spec"], member["spec"])):
        for steps in _walk((part,)):
            deed = _explained(steps, target)
            found.setdefault(deed.field, deed)
    for volume in parent["spec"].get("volumes") or ():
        if "persistentVolumeClaim" in volume:
            field = f"spec.volumes[{volume['name']}].persistentVolumeClaim"
            found[field] = Deed(field, "not copied", CLAIMED, missed=True)
    return list(found.values())


@dataclass(frozen=True)
class _Step:
    """A field on the way to a difference, and what both sides have there; None: it is absent."""

    field: str
    parent: Any
    member: Any


def _metadata(parent: Mapping[str, Any], member: Mapping[str, Any]) -> _Step:
    if "metadata" not in parent:
        return _Step("metadata", None, None)
    ours = {key: value for key, value in parent["metadata"].items() if key not in _SERVERS_OWN}
    return _Step("metadata", ours, member["metadata"])


def _walk(steps: tuple[_Step, ...]) -> Iterator[tuple[_Step, ...]]:
    """The way to each difference that cannot be told more closely."""
    here = steps[-1]
    if here.parent == here.member:
        return
    if isinstance(here.parent, Mapping) and isinstance(here.member, Mapping):
        ours, theirs, form = here.parent, here.member, "{}.{}"
    elif isinstance(here.parent, list) and isinstance(here.member, list) and _alike(here.parent, here.member):
        ours, theirs, form = _by_name(here.parent), _by_name(here.member), "{}[{}]"
    else:
        yield steps
        return
    for key in (*ours, *(key for key in theirs if key not in ours)):
        yield from _walk((*steps, _Step(form.format(here.field, key), ours.get(key), theirs.get(key))))


def _alike(ours: list[Any], theirs: list[Any]) -> bool:
    """Whether it can be told which entry of one list is which of the other."""
    return len(ours) == len(theirs) or all(_name(entry) is not None for entry in (*ours, *theirs))


def _name(entry: Any) -> str | None:
    return next((entry[key] for key in _NAMED_BY if key in entry), None) if isinstance(entry, Mapping) else None


def _by_name(entries: list[Any]) -> dict[str, Any]:
    """Entries of a list by what they are called, or by where they are."""
    found: dict[str, Any] = {}
    seen: Counter[str] = Counter()
    for index, entry in enumerate(entries):
        name = str(_name(entry) or index)
        seen[name] += 1
        found[name if seen[name] == 1 else f"{name}#{seen[name]}"] = entry
    return found


def _explained(steps: tuple[_Step, ...], target: Target) -> Deed:
    for step in reversed(steps):
        unnamed = _ENTRY.sub("[]", step.field)
        if rule := RULES.get(unnamed) or RULES.get(_ENTRY.sub("[]", step.field, count=1)):
            missed = rule.missed(step.parent, target)
            return Deed(step.field, _what(step), (missed and rule.why_missed) or rule.why, missed)
    return Deed(steps[-1].field, _what(steps[-1]), "", missed=True)


def _what(step: _Step) -> What:
    if step.member is None:
        return "dropped"
    return "added" if step.parent is None else "rewritten"
