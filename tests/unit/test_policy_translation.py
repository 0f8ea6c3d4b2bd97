"""What a NetworkPolicy of the parent becomes in a member: examples, and that it never admits more.

Every folder of `golden_policies/` is one rule: the policy of the parent, the wanted spec, and what it does not admit.
The properties compare both policies by a model of what a network plugin enforces.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.pods import Manifest, decoded, read_yaml
from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata
from vk_provider.translate.dependents.namespace_labels import labels_patch, member_label, member_labels, member_selector
from vk_provider.translate.dependents.network_policies import (
    NetworkPolicy,
    Translation,
    member_policy,
    namespace_keys,
    policy_patch,
)
from vk_provider.translate.names import Names
from vk_provider.translate.selectors import selects

NAMES: Final = Names("west", "PARENT")
FOLDERS: Final = sorted(path for path in (Path(__file__).parent / "golden_policies").iterdir() if path.is_dir())
NAME: Final = "kubernetes.io/metadata.name"
MINE: Final = {wellknown.PARENT_LABEL: NAMES.parent}


def policy(spec: Manifest, **metadata: Any) -> NetworkPolicy:
    return decoded(
        {"metadata": {"name": "p", "namespace": "shop", "uid": "n-1"} | metadata, "spec": spec}, NetworkPolicy
    )


def translated(spec: Manifest) -> Translation:
    return member_policy(policy(spec), NAMES, {NAME: "kube-system"})


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_member_gets_the_golden_policy(folder: Path) -> None:
    parent, wanted = read_yaml(folder / "parent.yaml"), read_yaml(folder / "member.yaml")
    found = member_policy(decoded(parent, NetworkPolicy), NAMES, {NAME: "kube-system"})
    assert found.manifest["spec"] == wanted["spec"]
    assert sorted(found.closed) == wanted["closed"]


def test_a_policy_has_a_name_of_ours_and_leads_to_its_original() -> None:
    metadata = translated({"podSelector": {}}).manifest["metadata"]
    assert metadata["name"] == "p.PARENT"
    assert metadata["namespace"] == "shop"
    assert metadata["labels"] == NAMES.labels
    assert metadata["annotations"][wellknown.PARENT_NAME] == "p"


def test_a_policy_that_is_as_it_should_be_is_not_written_again() -> None:
    manifest = translated({"podSelector": {}, "policyTypes": ["Ingress"]}).manifest
    there = decoded({**manifest, "metadata": manifest["metadata"] | {"uid": "m-1"}}, NetworkPolicy)
    assert policy_patch(manifest, there) is None
    changed = translated({"podSelector": {}, "policyTypes": ["Egress"]}).manifest
    patch = policy_patch(changed, there)
    assert patch is not None
    assert patch[0] == {"op": "test", "path": "/metadata/uid", "value": "m-1"}
    assert patch[-1] == {"op": "add", "path": "/spec", "value": changed["spec"]}


def test_labels_of_a_namespace_that_no_policy_selects_any_more_are_removed() -> None:
    there = Metadata(
        name="shop", uid="u", labels={"team": "a", **MINE, member_label("team"): "a", member_label("x"): "b"}
    )
    assert labels_patch(there, {member_label("team"): "a"}) == {
        "metadata": {"uid": "u", "labels": {member_label("x"): None}}
    }
    assert labels_patch(there, {member_label("team"): "a", member_label("x"): "b"}) is None


@given(st.text("abc-./", min_size=1, max_size=80), st.text("abc-./", min_size=1, max_size=80))
def test_keys_of_namespaces_stay_apart_and_are_valid(one: str, other: str) -> None:
    assert (member_label(one) == member_label(other)) == (one == other)
    prefix, _, name = member_label(one).partition("/")
    assert prefix == wellknown.DOMAIN
    assert len(name) <= 63


# A model of both clusters. The values of labels include the one that means "no such label" in a member.
values = st.sampled_from(["a", "b", wellknown.NO_LABEL])
keys = st.sampled_from(["team", "stage", "vk-provider.io/node", "topology.kubernetes.io/zone"])
labels = st.dictionaries(keys, values, max_size=3)
expressions = st.one_of(
    st.fixed_dictionaries(
        {"key": keys, "operator": st.sampled_from(["In", "NotIn"]), "values": st.lists(values, min_size=1, max_size=2)}
    ),
    st.fixed_dictionaries({"key": keys, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
selectors = st.fixed_dictionaries(
    {}, optional={"matchLabels": labels, "matchExpressions": st.lists(expressions, max_size=2)}
)
peers: st.SearchStrategy[Manifest] = st.one_of(
    st.fixed_dictionaries({"podSelector": selectors}, optional={"namespaceSelector": selectors}),
    st.fixed_dictionaries({"namespaceSelector": selectors}),
    st.just({"ipBlock": {"cidr": "192.0.2.0/24"}}),
    st.just({"futurePeer": {}}),
)
specs = st.fixed_dictionaries(
    {
        "podSelector": st.just({}) | selectors,
        "policyTypes": st.sampled_from([["Ingress"], ["Ingress", "Egress"]]),
        "ingress": st.lists(st.fixed_dictionaries({"from": st.lists(peers, max_size=2)}), max_size=2),
    },
    optional={
        "egress": st.lists(st.fixed_dictionaries({}, optional={"to": st.lists(peers, max_size=2)}), max_size=2),
        "future": st.just(1),
    },
)


@dataclass(frozen=True)
class Place:
    """A pod: its labels, its namespace with labels, and its address."""

    labels: dict[str, str]
    namespace: str
    of_namespace: dict[str, str]
    address: str = "203.0.113.1"


def isolates(spec: Manifest, pod: Place, type: str) -> bool:
    return pod.namespace == "shop" and type in spec["policyTypes"] and selects(spec["podSelector"], pod.labels)


def admits(spec: Manifest, pod: Place, other: Place, type: str) -> bool:
    """Whether the policy, on its own, lets the pod talk to the other one: in that direction it must select the pod."""
    part, field = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[type]
    return isolates(spec, pod, type) and any(
        not rule.get(field) or any(is_peer(peer, other) for peer in rule[field]) for rule in spec.get(part) or ()
    )


def is_peer(peer: Manifest, other: Place) -> bool:
    if block := peer.get("ipBlock"):
        return ipaddress.ip_address(other.address) in ipaddress.ip_network(block["cidr"])
    if peer.keys() - {"podSelector", "namespaceSelector"}:
        return False
    if (namespaces := peer.get("namespaceSelector")) is None:
        return other.namespace == "shop" and selects(peer["podSelector"], other.labels)
    return selects(namespaces, other.of_namespace) and selects(peer.get("podSelector") or {}, other.labels)


def for_all(spec: Manifest, type: str) -> bool:
    part, field = {"Ingress": ("ingress", "from"), "Egress": ("egress", "to")}[type]
    return any(not rule.get(field) for rule in spec.get(part) or ())


def in_member(pod: dict[str, str]) -> dict[str, str]:
    """The labels of a member pod; its member has given it another zone."""
    kept = {key: value for key, value in pod.items() if not key.startswith(f"{wellknown.DOMAIN}/")}
    return kept | NAMES.labels | {"topology.kubernetes.io/zone": "b"}


places = st.tuples(labels, st.sampled_from(["shop", "other"]), labels, st.sampled_from(["192.0.2.1", "203.0.113.1"]))
types = st.sampled_from(["Ingress", "Ingress", "Egress"])


@settings(max_examples=500)
@given(specs, labels, places, types, st.sampled_from(["labelled", "not labelled yet", "not ours"]))
def test_a_policy_isolates_what_the_original_isolates_and_admits_none_of_its_own_pods_that_it_does_not(
    spec: Manifest, pod: dict[str, str], other: tuple[Any, ...], type: str, state: str
) -> None:
    """`state`: that of the peer's namespace in the member."""
    peer_labels, namespace, of_namespace, address = other
    subject, peer = Place(pod, "shop", {}), Place(peer_labels, namespace, of_namespace, address)
    found = translated(spec).manifest["spec"]
    of_ours = member_labels(of_namespace, namespace_keys(policy(spec))) if state == "labelled" else {}
    there = {} if state == "not ours" else of_ours | MINE
    here, peer_here = (
        Place(in_member(pod), "shop", {}),
        Place(in_member(peer_labels), namespace, there, address),
    )
    if isolates(spec, subject, type):
        assert isolates(found, here, type)
    if admits(found, here, peer_here, type):
        assert admits(spec, subject, peer, type)


@given(specs, labels, labels, st.sampled_from(["shop", "other"]), labels, types)
def test_pods_of_others_are_neither_isolated_nor_admitted(
    spec: Manifest,
    pod: dict[str, str],
    foreign: dict[str, str],
    namespace: str,
    of_namespace: dict[str, str],
    type: str,
) -> None:
    """Unless the original admits every address. They may have the labels of any pod of the parent."""
    found = translated(spec).manifest["spec"]
    theirs = Place(foreign | {wellknown.PARENT_LABEL: "another"}, namespace, of_namespace | MINE)
    assert not isolates(found, theirs, type)
    if not for_all(spec, type):
        assert not admits(found, Place(in_member(pod), "shop", {}), theirs, type)


expressible = st.dictionaries(st.sampled_from(["team", "stage"]), st.sampled_from(["a", "b"]), max_size=2)
operators = st.sampled_from(["In", "NotIn", "Exists", "DoesNotExist"])


@given(expressible, st.sampled_from(["team", "stage"]), operators, expressible)
def test_a_namespace_selector_selects_the_same_namespaces_of_the_parent(
    wanted: dict[str, str], key: str, operator: str, there: dict[str, str]
) -> None:
    expression = {"key": key, "operator": operator} | ({"values": ["a"]} if operator in ("In", "NotIn") else {})
    selector = {"matchLabels": wanted, "matchExpressions": [expression]}
    found = member_selector(selector, NAMES)
    assert found is not None
    assert selects(found, member_labels(there, {"team", "stage"}) | MINE) == selects(selector, there)
    assert not selects(found, member_labels(there, {"team", "stage"})), "the namespace is not of this parent"
    assert not selects(found, MINE), "the namespace is not labelled yet"
