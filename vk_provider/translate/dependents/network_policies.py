"""NetworkPolicies of the parent, and what they become in a member.

A translated policy never admits what the original does not. A peer that cannot be expressed is left out, and a rule
that loses all its peers goes with them: a rule without peers would admit everything.

    pods that the policy selects        the same selector, and only pods of this parent
    podSelector of a peer               the same; keys whose labels differ in a member cannot be expressed
    namespaceSelector of a peer         keys of ours, see namespace_labels, and only namespaces of this parent
    ipBlock, ports, a rule for all      the same
    a peer of egress: the parent's DNS  the member's DNS, too: it is what pods there ask

(https://kubernetes.io/docs/concepts/services-networking/network-policies/)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata, Object, fields
from vk_provider.translate.dependents.namespace_labels import member_selector, selected_keys
from vk_provider.translate.names import Names
from vk_provider.translate.selectors import selects

SYSTEM: Final = "kube-system"  # the namespace of a cluster's DNS
_DNS: Final = {"k8s-app": "kube-dns"}  # the label of its pods: every installer keeps it
_NAME: Final = "kubernetes.io/metadata.name"  # label of every namespace: its name
_DNS_OF_MEMBER: Final = {
    "namespaceSelector": {"matchLabels": {_NAME: SYSTEM}},
    "podSelector": {"matchLabels": _DNS},
}

# Field of the spec -> the type of policy, and the field of a rule that lists its peers.
_DIRECTIONS: Final = {"ingress": ("Ingress", "from"), "egress": ("Egress", "to")}
# What this code knows. Another field may restrict what a policy, a rule or a peer admits.
_OF_SPEC: Final = frozenset({"podSelector", "policyTypes", *_DIRECTIONS})
_OF_PEER: Final = frozenset({"podSelector", "namespaceSelector", "ipBlock"})
_OF_SELECTOR: Final = frozenset({"matchLabels", "matchExpressions"})
_OPERATORS: Final = frozenset({"In", "NotIn", "Exists", "DoesNotExist"})


class NetworkPolicy(Object, gc=False):
    """A NetworkPolicy of the parent, or one of ours in a member."""

    def selects(self, pod: Metadata) -> bool:
        """Whether the policy is about this pod."""
        if self.metadata.namespace != pod.namespace:
            return False
        return selects(fields(self.spec).get("podSelector") or {}, pod.labels)


@dataclass
class Translation:
    """The manifest in the member, and what it does not admit, although the original does."""

    manifest: dict[str, Any]
    closed: set[str] = field(default_factory=set)


def namespace_keys(policy: NetworkPolicy) -> frozenset[str]:
    """The label keys of namespaces that the policy selects."""
    peers = (peer for _, _, rule, peers in _rules(fields(policy.spec)) for peer in rule.get(peers) or ())
    return selected_keys(peer["namespaceSelector"] for peer in peers if peer.get("namespaceSelector"))


def member_policy(policy: NetworkPolicy, names: Names, system: Mapping[str, str]) -> Translation:
    """The policy for the pods of the parent in a member. `system`: the labels of the parent's namespace kube-system."""
    original = fields(policy.spec)
    selector = original.get("podSelector") or {}
    subject, types = _pod_selector(selector, names), _types(original)
    metadata = {
        "name": names.copy(policy.metadata.name),
        "namespace": names.namespace(policy.metadata.namespace),
        "labels": names.labels,
        "annotations": names.annotations(policy.metadata),
    }
    spec: dict[str, Any] = {"podSelector": subject, "policyTypes": types}
    manifest = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}
    translation = Translation(manifest)
    if subject is None:  # it is about more pods then, and must not open those
        spec["podSelector"] = _pod_selector(_known_part(selector), names)
        translation.closed.add(f"its podSelector ({_why(selector)}), so it isolates all pods that the rest selects")
    elif unknown := original.keys() - _OF_SPEC:
        translation.closed.add(f"everything, because of {_listed(unknown)} in its spec")
    else:
        for part, type, rule, peers in _rules(original):
            translated = _rule(rule, peers, names, system, translation.closed) if type in types else None
            if translated is not None:
                spec.setdefault(part, []).append(translated)
    return translation


def policy_patch(wanted: Mapping[str, Any], actual: NetworkPolicy) -> list[dict[str, Any]] | None:
    """The JSON patch, with the UID, that makes a policy of the member the wanted one; None if it is."""
    annotations = wanted["metadata"]["annotations"]
    if fields(actual.spec) == wanted["spec"] and annotations.items() <= actual.metadata.annotations.items():
        return None
    return [
        {"op": "test", "path": "/metadata/uid", "value": actual.metadata.uid},
        {"op": "add", "path": "/metadata/annotations", "value": actual.metadata.annotations | annotations},
        {"op": "add", "path": "/spec", "value": wanted["spec"]},
    ]


def not_enforced(node: str, cause: str) -> str:
    """The message of the Event on a policy that selects a pod of a virtual node and has no effect there."""
    return (
        f"the policy selects pods on virtual node {node}, where it has no effect: {cause}; "
        "create one in the member, or keep these pods off virtual nodes"
    )


def narrowed(node: str, closed: set[str]) -> str:
    """The message of the Event on a policy that admits less in a member."""
    return f"on virtual node {node} the policy does not admit: {'; '.join(sorted(closed))}"


def _rules(spec: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Field of the spec, type, rule, and the field of the rule with the peers."""
    for part, (type, peers) in _DIRECTIONS.items():
        for rule in spec.get(part) or ():
            yield part, type, rule, peers


def _types(spec: Mapping[str, Any]) -> list[str]:
    """An API server sets the default; it must not depend on which rules are left."""
    return spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"])


def _rule(
    rule: Mapping[str, Any], peers: str, names: Names, system: Mapping[str, str], closed: set[str]
) -> dict[str, Any] | None:
    """The rule in the member; None if nothing is left of it."""
    if unknown := rule.keys() - {peers, "ports"}:
        closed.add(f"a rule with {_listed(unknown)}")
        return None
    translated = {part: value for part, value in rule.items() if value}
    if peers not in translated:
        return translated  # for all
    found: list[dict[str, Any]] = []
    for peer in rule[peers]:
        if "podSelector" in peer or "namespaceSelector" in peer:
            closed.add("pods outside of the member")
        if (here := _peer(peer, names, closed)) is not None:
            found.append(here)
        if peers == "to" and _is_dns(peer, system) and _DNS_OF_MEMBER not in found:
            found.append(_DNS_OF_MEMBER)
    return {**translated, peers: found} if found else None


def _peer(peer: Mapping[str, Any], names: Names, closed: set[str]) -> dict[str, Any] | None:
    """The peer in the member; None if it cannot be expressed."""
    if unknown := peer.keys() - _OF_PEER:
        closed.add(f"a peer with {_listed(unknown)}")
        return None
    if "ipBlock" in peer:
        return dict(peer)
    pods = peer.get("podSelector") or {}
    found: dict[str, Any] = {"podSelector": _pod_selector(pods, names)}
    if found["podSelector"] is None:
        closed.add(f"a peer with podSelector ({_why(pods)})")
        return None
    if "namespaceSelector" in peer:
        found["namespaceSelector"] = member_selector(peer["namespaceSelector"] or {}, names)
        if found["namespaceSelector"] is None:
            closed.add("a peer with a namespaceSelector that cannot be expressed")
            return None
    return found


def _is_dns(peer: Mapping[str, Any], system: Mapping[str, str]) -> bool:
    """Whether the peer selects the DNS of the parent. It must name it by a namespaceSelector: no other policy can."""
    namespaces = peer.get("namespaceSelector")
    return (
        namespaces is not None
        and not peer.keys() - _OF_PEER
        and selects(namespaces, {_NAME: SYSTEM, **system})
        and selects(peer.get("podSelector") or {}, _DNS)
    )


def _pod_selector(selector: Mapping[str, Any], names: Names) -> dict[str, Any] | None:
    """The same selector, for pods of this parent only; None if a member pod may not have the labels."""
    if _why(selector):
        return None
    own = {wellknown.PARENT_LABEL: names.parent}
    found: dict[str, Any] = {"matchLabels": (selector.get("matchLabels") or {}) | own}
    expressions = selector.get("matchExpressions")
    return found | {"matchExpressions": expressions} if expressions else found


def _known_part(selector: Mapping[str, Any]) -> dict[str, Any]:
    """What can be expressed of a selector. It selects more."""
    return {
        "matchLabels": {key: value for key, value in (selector.get("matchLabels") or {}).items() if not _differs(key)},
        "matchExpressions": [each for each in selector.get("matchExpressions") or () if _is_known(each)],
    }


def _why(selector: Mapping[str, Any]) -> str:
    """Why a podSelector cannot be expressed; empty if it can."""
    unknown = selector.keys() - _OF_SELECTOR
    unknown |= {key for key in selector.get("matchLabels") or () if _differs(key)}
    unknown |= {each["key"] for each in selector.get("matchExpressions") or () if not _is_known(each)}
    return _listed(unknown)


def _is_known(expression: Mapping[str, Any]) -> bool:
    return expression.get("operator") in _OPERATORS and not _differs(expression["key"])


def _differs(key: str) -> bool:
    """Whether a member pod may have another value of this label than its parent pod."""
    return key.startswith(f"{wellknown.DOMAIN}/") or key in wellknown.PARENT_TOPOLOGY


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))
