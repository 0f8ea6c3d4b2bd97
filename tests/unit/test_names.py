"""Names in the member are valid, and two objects never share a name."""

from __future__ import annotations

import re

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from tests.unit.pods import NAMES, PARENT
from vk_provider.api import wellknown
from vk_provider.kube.objects import Metadata
from vk_provider.translate.names import ROOT_CA, Names, with_parent_names

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

labels = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", fullmatch=True)
subdomains = st.lists(labels, min_size=1, max_size=3).map(".".join)
prefixes = st.from_regex(r"[a-z0-9][-a-z0-9]{0,39}", fullmatch=True)


def names(prefix: str = "") -> Names:
    return Names("member-a", PARENT, prefix)


@given(labels)
def test_without_a_prefix_namespaces_keep_their_names(namespace: str) -> None:
    assert names().namespace(namespace) == namespace


@given(labels, prefixes)
@example("a" * 63, "p")
@example("a" * 61, "p-")
def test_namespaces_of_the_member_are_valid(namespace: str, prefix: str) -> None:
    mapped = names(prefix).namespace(namespace)
    assert len(mapped) <= 63 and LABEL.fullmatch(mapped)


@given(labels, labels, prefixes)
@example("a" * 62 + "b", "a" * 62 + "c", "east-")
def test_two_namespaces_never_get_the_same_name(one: str, other: str, prefix: str) -> None:
    assume(one != other)
    assert names(prefix).namespace(one) != names(prefix).namespace(other)


@given(st.from_regex(r"[a-z0-9][-a-z0-9]{58,61}[a-z0-9]", fullmatch=True), prefixes)
@example("a" * 63, "e-")
@example("a" * 60, "east-")
def test_no_namespace_can_get_the_name_of_a_shortened_one(victim: str, prefix: str) -> None:
    mapped = names(prefix).namespace(victim)
    assume(mapped != prefix + victim)
    assert names(prefix).namespace(mapped.removeprefix(prefix)) != mapped


@given(subdomains, subdomains)
@example(ROOT_CA, f"{ROOT_CA}.{wellknown.DOMAIN}")
@example(ROOT_CA, f"{ROOT_CA}.another-parent")
@example("a" * 216, "a" * 215 + "b")
@example("a" * 253, "a" * 252 + "b")
@example("a" * 253, f"{'a' * 215}.{PARENT}")
def test_two_copies_never_get_the_same_name(one: str, other: str) -> None:
    assume(one != other)
    assert names().copy(one) != names().copy(other)


@given(subdomains)
@example(ROOT_CA)
@example("a" * 215)
@example("a" * 216)
@example("a" * 253)
@example("a" * 183 + "." + "b" * 69)
@example("a" * 183 + "-" + "b" * 69)
def test_copies_have_valid_names(name: str) -> None:
    mapped = names().copy(name)
    assert len(mapped) <= 253 and SUBDOMAIN.fullmatch(mapped)


@given(subdomains)
@example(ROOT_CA)
@example("a" * 253)
def test_no_copy_has_the_name_of_its_original_or_of_the_copy_of_another_parent(name: str) -> None:
    assert len({name, names().copy(name), Names("member-a", "another-parent").copy(name)}) == 3


@given(subdomains, subdomains, st.uuids())
def test_no_copy_has_the_name_of_another_object_of_ours(name: str, pod: str, uid: object) -> None:
    there = names()
    others = {there.token_secret(pod, str(uid)), there.certificate_secret(pod, str(uid)), there.trust_bundle(name)}
    assert there.copy(name) not in others


def test_a_message_about_a_copy_names_the_original() -> None:
    parent = Metadata(name="web", namespace="shop", uid="p-1")
    member = Metadata("web", "shop", "m-1", labels=NAMES.labels)
    message = f'configmap "{NAMES.copy("settings")}" not found'
    assert with_parent_names(message, parent, member) == 'configmap "settings" not found'


@given(subdomains, st.uuids())
@example("a" * 219 + ".bbb", "x")
@example("a" * 218 + ".-.b", "x")
@example("a" * 253, "x")
def test_token_secrets_have_valid_names(pod: str, uid: object) -> None:
    secret = names().token_secret(pod, str(uid))
    assert len(secret) <= 253 and SUBDOMAIN.fullmatch(secret)


@given(subdomains, st.uuids(), st.uuids())
def test_two_incarnations_of_a_pod_do_not_share_their_tokens(pod: str, one: object, other: object) -> None:
    assume(one != other)
    assert names().token_secret(pod, str(one)) != names().token_secret(pod, str(other))


@given(subdomains, subdomains, st.uuids(), st.uuids())
def test_two_pods_do_not_share_their_tokens(one: str, other: str, uid: object, other_uid: object) -> None:
    assume(uid != other_uid)
    assert names().token_secret(one, str(uid)) != names().token_secret(other, str(other_uid))


@given(labels, subdomains, prefixes)
def test_annotations_identify_the_parent_object(namespace: str, name: str, prefix: str) -> None:
    there = names(prefix)
    parent = Metadata(name=name, namespace=namespace, uid="p-1")
    member = Metadata(name=name, namespace=there.namespace(namespace), annotations=there.annotations(parent))
    assert there.parent_key(member) == f"{namespace}/{name}"


@pytest.mark.parametrize(
    "labels",
    [
        {},
        {wellknown.PARENT_LABEL: PARENT},
        {wellknown.NODE_LABEL: "member-a"},
        {wellknown.PARENT_LABEL: "other", wellknown.NODE_LABEL: "member-a"},
        {wellknown.PARENT_LABEL: PARENT, wellknown.NODE_LABEL: "other"},
    ],
)
def test_an_object_without_both_labels_is_not_ours(labels: dict[str, str]) -> None:
    assert not NAMES.owns(labels)


def test_an_object_with_both_labels_is_ours() -> None:
    assert NAMES.owns({"app": "web", **NAMES.labels})


def test_the_selector_selects_exactly_the_objects_with_our_labels() -> None:
    assert dict(pair.split("=") for pair in NAMES.selector.split(",")) == NAMES.labels


def test_the_parent_pod_replaces_the_member_pod_in_a_message_of_a_kubelet() -> None:
    parent, member = Metadata(name="web", namespace="shop", uid="p-1"), Metadata("web", "north-shop", "m-1")
    message = "container=main pod=web_north-shop(m-1), of m-1"
    assert with_parent_names(message, parent, member) == "container=main pod=web_shop(p-1), of p-1"
