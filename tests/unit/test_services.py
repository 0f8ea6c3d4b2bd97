"""Services and EndpointSlices of the parent, and their reflections in a member.

Every folder of `golden_services/` is one rule: objects of the parent, and the wanted object in the member.
`target.yaml` may set prefix and flat.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.merge import merge
from tests.unit.pods import NAMES, Manifest, decoded, read_yaml
from vk_provider.kube.objects import Object, encode
from vk_provider.translate.dependents.services import (
    EndpointSlice,
    ParentSlice,
    allocated,
    concerns,
    member_service,
    member_slice,
    must_replace,
    parent_service,
    parent_slice,
    service_patch,
    slice_copy,
    slice_patch,
)
from vk_provider.translate.names import Names

FOLDERS = sorted(path for path in (Path(__file__).parent / "golden_services").iterdir() if path.is_dir())


def as_service(manifest: Manifest) -> Object:
    return decoded(manifest, Object)


def as_slice(manifest: Manifest) -> EndpointSlice:
    return decoded(manifest, EndpointSlice)


def plain(manifest: Any) -> Any:
    """A manifest as JSON types."""
    return msgspec.json.decode(encode(manifest))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_the_member_gets_the_golden_manifest(folder: Path) -> None:
    parent, wanted = read_yaml(folder / "parent.yaml"), read_yaml(folder / "member.yaml")
    file = folder / "target.yaml"
    asked: dict[str, Any] = read_yaml(file) if file.exists() else {}
    names = Names(NAMES.node, NAMES.parent, asked.get("prefix", ""))
    service = parent_service(as_service(parent["service"]))
    slices = [
        member_slice(parent_slice(as_slice(found)), service, names, {names.node}, flat=asked.get("flat", False))
        for found in parent["slices"]
    ]
    assert plain(member_service(service, names)) == wanted["service"]
    assert plain([found for found in slices if found]) == wanted["slices"]


def service(spec: Manifest, uid: str = "s-1") -> Object:
    return as_service({"metadata": {"name": "web", "namespace": "shop", "uid": uid}, "spec": spec})


def served(manifest: Manifest) -> Object:
    """A Service of the member after the defaults and allocations of its API server."""
    found = copy.deepcopy(manifest)
    found["metadata"] |= {"uid": "m-1", "resourceVersion": "7"}
    found["metadata"]["labels"] |= {"added-in-the-member": "yes"}
    spec = found["spec"]
    if spec["type"] == "ClusterIP":
        spec.setdefault("clusterIP", "10.97.0.1")
        spec |= {"clusterIPs": [spec["clusterIP"]], "ipFamilies": spec.get("ipFamilies", ["IPv4"])}
    return as_service(found)


CLUSTER_IP: Manifest = {
    "type": "ClusterIP",
    "clusterIP": "10.96.0.9",
    "ports": [{"name": "http", "protocol": "TCP", "port": 80, "targetPort": 8080}],
    "sessionAffinity": "None",
    "internalTrafficPolicy": "Cluster",
    "ipFamilyPolicy": "SingleStack",
    "ipFamilies": ["IPv4"],
}
HEADLESS: Manifest = CLUSTER_IP | {"clusterIP": "None"}
EXTERNAL: Manifest = {"type": "ExternalName", "externalName": "db.example.com", "sessionAffinity": "None"}

ports = st.lists(
    st.fixed_dictionaries(
        {"port": st.integers(1, 3), "protocol": st.sampled_from(["TCP", "UDP", "SCTP"]), "targetPort": st.just("web")},
        optional={"name": st.just("a"), "nodePort": st.just(30001), "appProtocol": st.just("h2c")},
    ),
    min_size=1,
    max_size=3,
)
specs = st.just(EXTERNAL) | st.fixed_dictionaries(
    {
        "type": st.sampled_from(["ClusterIP", "NodePort", "LoadBalancer"]),
        "clusterIP": st.sampled_from(["10.96.0.9", "None"]),
        "ports": ports,
        "sessionAffinity": st.sampled_from(["None", "ClientIP"]),
        "internalTrafficPolicy": st.sampled_from(["Cluster", "Local"]),
        "ipFamilyPolicy": st.sampled_from(["SingleStack", "PreferDualStack", "RequireDualStack"]),
        "ipFamilies": st.sampled_from([["IPv4"], ["IPv6"], ["IPv4", "IPv6"]]),
    },
    optional={
        "publishNotReadyAddresses": st.just(True),
        "sessionAffinityConfig": st.just({"clientIP": {"timeoutSeconds": 9}}),
        "externalIPs": st.just(["192.0.2.1"]),
        "selector": st.just({"app": "web"}),
        "futureField": st.just(1),
    },
)


@given(specs)
def test_a_service_that_is_in_sync_needs_no_patch(spec: Manifest) -> None:
    wanted = member_service(service(spec), NAMES)
    actual = served(wanted)
    assert service_patch(wanted, actual) is None
    assert not must_replace(wanted, actual)


@given(specs, specs)
def test_a_patched_service_is_in_sync(before: Manifest, after: Manifest) -> None:
    wanted = member_service(service(after, uid="s-2"), NAMES)
    actual = served(member_service(service(before), NAMES))
    patch = service_patch(wanted, actual)
    assert patch is not None
    assert patch["metadata"]["uid"] == "m-1"
    document = {"metadata": msgspec.to_builtins(actual.metadata), "spec": msgspec.json.decode(actual.spec)}
    assert service_patch(wanted, as_service(merge(document, patch))) is None


def test_changes_by_another_client_of_the_member_are_reverted() -> None:
    wanted = member_service(service(CLUSTER_IP), NAMES)
    edited = served(wanted)
    spec = msgspec.json.decode(edited.spec) | {
        "externalIPs": ["192.0.2.1"],
        "sessionAffinity": "ClientIP",
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 10800}},
    }
    edited = Object(edited.metadata, msgspec.Raw(encode(spec)))
    assert service_patch(wanted, edited) == {
        "metadata": {"uid": "m-1"},
        "spec": {"externalIPs": None, "sessionAffinity": "None", "sessionAffinityConfig": None},
    }


@pytest.mark.parametrize(
    ("before", "after", "replaced"),
    [
        (CLUSTER_IP, HEADLESS, True),
        (HEADLESS, CLUSTER_IP, True),
        (CLUSTER_IP, EXTERNAL, False),
        (EXTERNAL, HEADLESS, True),
        (HEADLESS, HEADLESS, False),
        (CLUSTER_IP, CLUSTER_IP, False),
    ],
)
def test_a_service_is_replaced_only_if_it_becomes_headless_or_ceases_to_be(
    before: Manifest, after: Manifest, replaced: bool
) -> None:
    wanted = member_service(service(after), NAMES)
    assert must_replace(wanted, served(member_service(service(before), NAMES))) == replaced


def test_a_service_requests_the_address_of_the_parent_and_can_be_created_without_it() -> None:
    manifest = member_service(service(CLUSTER_IP), NAMES)
    assert manifest["spec"]["clusterIP"] == "10.96.0.9"
    other = allocated(manifest)
    assert other is not None
    assert other["spec"] == {field: value for field, value in manifest["spec"].items() if field != "clusterIP"}
    for without_address in (HEADLESS, EXTERNAL):
        assert allocated(member_service(service(without_address), NAMES)) is None


def test_an_address_that_the_member_allocated_is_kept() -> None:
    wanted = member_service(service(CLUSTER_IP), NAMES)
    actual = served({**wanted, "spec": wanted["spec"] | {"clusterIP": "10.97.0.1"}})
    assert service_patch(wanted, actual) is None
    assert not must_replace(wanted, actual)


def test_another_service_of_the_parent_with_another_address_is_a_replacement() -> None:
    wanted = member_service(service(CLUSTER_IP | {"clusterIP": "10.96.0.10"}, uid="s-2"), NAMES)
    assert must_replace(wanted, served(member_service(service(CLUSTER_IP, uid="s-1"), NAMES)))


def test_an_external_name_that_becomes_a_cluster_ip_gets_the_address_of_the_parent() -> None:
    actual = served(member_service(service(EXTERNAL), NAMES))
    patch = service_patch(member_service(service(CLUSTER_IP), NAMES), actual)
    assert patch is not None
    assert patch["spec"]["clusterIP"] == "10.96.0.9"


def test_a_service_to_which_a_selector_was_added_is_replaced() -> None:
    wanted = member_service(service(CLUSTER_IP), NAMES)
    edited = served({**wanted, "spec": wanted["spec"] | {"selector": {"app": "other"}}})
    assert must_replace(wanted, edited)


endpoints = st.builds(
    lambda address, node, ready: (
        {"addresses": [address], "conditions": {"ready": ready}} | ({"nodeName": node} if node else {})
    ),
    st.sampled_from(["10.0.0.1", "10.0.0.2", "10.0.0.3"]),
    st.sampled_from([NAMES.node, "member-b", "member-c", ""]),
    st.booleans(),
)


def slices_of(listed: st.SearchStrategy[list[Manifest] | None]) -> st.SearchStrategy[EndpointSlice]:
    labels = {"kubernetes.io/service-name": "web"}
    metadata = {"name": "web-x1", "namespace": "shop", "uid": "e-1", "labels": labels}
    port = st.sampled_from([80, 81]).map(lambda port: [{"name": "http", "port": port, "protocol": "TCP"}])
    parts = {"metadata": st.just(metadata), "addressType": st.just("IPv4"), "endpoints": listed, "ports": port}
    return st.fixed_dictionaries(parts).map(as_slice)


slices = slices_of(st.none() | st.lists(endpoints, max_size=5))
full_slices = slices_of(st.lists(endpoints, min_size=1, max_size=2))
policies = st.sampled_from(["Cluster", "Local"]).map(lambda policy: CLUSTER_IP | {"internalTrafficPolicy": policy})


def reflected(found: ParentSlice, spec: Manifest = CLUSTER_IP, *, flat: bool = False) -> Manifest | None:
    manifest = member_slice(found, service(spec), NAMES, {NAMES.node}, flat=flat)
    return plain(manifest) if manifest else None


@given(slices, policies, st.booleans())
def test_an_endpoint_is_listed_only_in_members_that_can_reach_it(
    found: EndpointSlice, spec: Manifest, flat: bool
) -> None:
    everywhere = flat and spec["internalTrafficPolicy"] == "Cluster"
    wanted = sorted(
        endpoint.addresses[0]
        for endpoint in found.endpoints or ()
        if everywhere or endpoint.node_name in (None, NAMES.node)
    )
    manifest = reflected(parent_slice(found), spec, flat=flat)
    assert sorted(entry["addresses"][0] for entry in (manifest or {"endpoints": []})["endpoints"]) == wanted
    assert (manifest is None) == (wanted == [])


@given(full_slices, full_slices)
def test_a_slice_is_patched_only_if_it_differs(before: EndpointSlice, after: EndpointSlice) -> None:
    there = reflected(parent_slice(before), flat=True)
    wanted = member_slice(parent_slice(after), service(CLUSTER_IP), NAMES, {NAMES.node}, flat=True)
    assert there and wanted
    actual = there | {"metadata": there["metadata"] | {"uid": "m-1"}}
    patch = slice_patch(wanted, slice_copy(as_slice(actual)))
    assert (patch is None) == (plain(wanted) == there)
    if patch is not None:
        assert slice_patch(wanted, slice_copy(as_slice(merge(actual, plain(patch))))) is None


@given(slices, slices, st.booleans())
def test_a_change_that_does_not_concern_a_member_changes_nothing_there(
    before: EndpointSlice, after: EndpointSlice, flat: bool
) -> None:
    old, new = parent_slice(before), parent_slice(after)
    if not concerns(old, new, {NAMES.node}, flat=flat):
        assert reflected(old, flat=flat) == reflected(new, flat=flat)


def test_endpoints_in_other_members_do_not_concern_a_member_without_a_flat_network() -> None:
    def listing(*nodes: str) -> ParentSlice:
        entries = [{"addresses": ["10.0.0.1"], "nodeName": node} for node in nodes]
        return parent_slice(as_slice({"metadata": {"uid": "e-1"}, "addressType": "IPv4", "endpoints": entries}))

    here, there = listing(NAMES.node), listing(NAMES.node, "member-b")
    assert not concerns(here, there, {NAMES.node}, flat=False)
    assert concerns(here, there, {NAMES.node}, flat=True)
    assert concerns(here, there, {"member-b"}, flat=False)
