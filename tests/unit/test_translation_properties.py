"""Properties of the translation that hold for every pod of the parent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.pods import NAMES, Manifest, pod
from vk_provider.api.membercluster import ApiAccess
from vk_provider.translate.names import ROOT_CA, Names
from vk_provider.translate.pods.pod import DROPPED, Target, member_pod, member_spec

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", max_size=3), inner, max_size=3),
    max_leaves=6,
)
unknown = st.dictionaries(st.sampled_from(["futureA", "futureB"]), json_values, max_size=2)
FIELD_PATHS = ["metadata.uid", "metadata.namespace", "metadata.name", "spec.nodeName", "spec.serviceAccountName"]
field_ref = st.sampled_from(FIELD_PATHS).map(lambda path: {"fieldRef": {"apiVersion": "v1", "fieldPath": path}})
config_map = st.sampled_from([ROOT_CA, "settings"]).map(lambda name: {"name": name})


@st.composite
def with_unknown(draw: st.DrawFn, known: st.SearchStrategy[Manifest]) -> Manifest:
    return draw(known) | draw(unknown)


env = with_unknown(
    st.builds(
        lambda name, source: {"name": name} | source,
        st.sampled_from(["A", "B", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"]),
        st.just({"value": "1"})
        | field_ref.map(lambda ref: {"valueFrom": ref})
        | config_map.map(lambda ref: {"valueFrom": {"configMapKeyRef": ref | {"key": "k"}}}),
    )
)
mounts = st.sampled_from(["kube-api-access-x", "data"]).map(
    lambda name: {
        "name": name,
        "mountPath": "/data" if name == "data" else "/var/run/secrets/kubernetes.io/serviceaccount",
    }
)


def container(name: str) -> st.SearchStrategy[Manifest]:
    return with_unknown(
        st.fixed_dictionaries(
            {"name": st.just(name), "image": st.just("app:1")},
            optional={
                "env": st.lists(env, max_size=3),
                "envFrom": st.lists(config_map.map(lambda ref: {"configMapRef": ref}), max_size=2),
                "volumeMounts": st.lists(mounts, max_size=2),
                "restartPolicy": st.just("Always"),
            },
        )
    )


SOURCES: list[Manifest] = [
    {"serviceAccountToken": {"path": "token"}},
    {"serviceAccountToken": {"path": "vault", "audience": "vault"}},
    {"configMap": {"name": ROOT_CA}},
    {"secret": {"name": "keys"}},
    {"downwardAPI": {"items": [{"path": "uid", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
]
source = with_unknown(st.sampled_from(SOURCES).map(lambda entry: copy.deepcopy(entry)))
volume = with_unknown(
    st.one_of(
        st.lists(source, max_size=3).map(
            lambda sources: {"name": "kube-api-access-x", "projected": {"sources": sources}}
        ),
        config_map.map(lambda ref: {"name": "data", "configMap": ref}),
        field_ref.map(lambda ref: {"name": "data", "downwardAPI": {"items": [{"path": "x", **ref}]}}),
    )
)
topology = st.sampled_from(["kubernetes.io/hostname", "topology.kubernetes.io/zone"])
selector = st.fixed_dictionaries(
    {"matchLabels": st.just({"app": "web"})},
    optional={"matchExpressions": st.just([{"key": "hash", "operator": "In", "values": ["1"]}])},
)
term = with_unknown(
    st.fixed_dictionaries(
        {"topologyKey": topology, "labelSelector": selector}, optional={"matchLabelKeys": st.just(["hash"])}
    )
)
node_affinities: list[Manifest] = [
    {},
    {
        "requiredDuringSchedulingIgnoredDuringExecution": {
            "nodeSelectorTerms": [
                {
                    "matchExpressions": [
                        {"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]},
                        {"key": "disk", "operator": "Exists"},
                    ]
                }
            ]
        }
    },
]
affinity = st.fixed_dictionaries(
    {},
    optional={
        "podAntiAffinity": st.fixed_dictionaries(
            {},
            optional={
                "requiredDuringSchedulingIgnoredDuringExecution": st.lists(term, max_size=2),
                "preferredDuringSchedulingIgnoredDuringExecution": st.lists(
                    term.map(lambda t: {"weight": 5, "podAffinityTerm": t}), max_size=2
                ),
            },
        ),
        "nodeAffinity": st.sampled_from(node_affinities).map(lambda entry: copy.deepcopy(entry)),
    },
)
spread = with_unknown(
    st.fixed_dictionaries(
        {"topologyKey": topology, "whenUnsatisfiable": st.just("DoNotSchedule"), "labelSelector": selector},
        optional={"minDomains": st.just(2), "matchLabelKeys": st.just(["hash"])},
    )
)
specs = with_unknown(
    st.fixed_dictionaries(
        {"containers": st.tuples(container("app"), container("side")).map(list)},
        optional={
            "initContainers": container("setup").map(lambda c: [c]),
            "volumes": st.lists(volume, max_size=3),
            "affinity": affinity,
            "topologySpreadConstraints": st.lists(spread, max_size=2),
            "serviceAccountName": st.just("web"),
            **{field: st.just("dropped") for field in ("nodeName", "schedulerName", "priority")},
            "nodeSelector": st.dictionaries(st.sampled_from(["disk", "kubernetes.io/arch"]), st.just("x"), max_size=2),
        },
    )
)
targets = st.builds(
    lambda prefix, access: Target(Names("member-a", "parent-uid", prefix), access, "parent.example.com", "6443"),
    st.sampled_from(["", "east-"]),
    st.sampled_from(list(ApiAccess)),
)


def unknown_fields(value: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """All `future...` fields by path. The path contains the names of list entries, because lists may become shorter."""
    found: dict[tuple[str | int, ...], Any] = {}
    if isinstance(value, dict):
        for key, part in value.items():
            if key.startswith("future"):
                found[(*path, key)] = part
            else:
                found |= unknown_fields(part, (*path, key))
    elif isinstance(value, list):
        for index, part in enumerate(value):
            name = part.get("name", index) if isinstance(part, dict) else index
            found |= unknown_fields(part, (*path, name))
    return found


@given(specs, targets)
def test_unknown_fields_of_pods_and_containers_survive(spec: Manifest, target: Target) -> None:
    kept = {key: spec[key] for key in spec if key.startswith("future") or key in ("containers", "initContainers")}
    for containers in (kept.get("containers", []), kept.get("initContainers", [])):
        for entry in containers:
            entry.pop("env", None)  # the next test checks them: the provider adds entries
    after = member_spec(copy.deepcopy(spec), pod(), target)
    assert unknown_fields(kept).items() <= unknown_fields(after).items()


@given(env)
def test_unknown_fields_of_environment_entries_survive(entry: Manifest) -> None:
    spec = {"containers": [{"name": "app", "env": [copy.deepcopy(entry)]}]}
    after = member_spec(spec, pod(), Target(NAMES))["containers"][0]["env"][-1]
    assert unknown_fields(after) == unknown_fields(entry)


@given(volume, st.sampled_from([ApiAccess.PARENT, ApiAccess.MEMBER]))
def test_unknown_fields_of_volumes_survive(entry: Manifest, access: ApiAccess) -> None:
    after = member_spec({"containers": [], "volumes": [copy.deepcopy(entry)]}, pod(), Target(NAMES, access))
    assert unknown_fields(after["volumes"]) == unknown_fields([entry])


@given(spread)
def test_unknown_fields_of_spread_constraints_survive(entry: Manifest) -> None:
    entry["topologyKey"] = "kubernetes.io/hostname"
    after = member_spec({"topologySpreadConstraints": [copy.deepcopy(entry)]}, pod(), Target(NAMES))
    assert unknown_fields(after["topologySpreadConstraints"]) == unknown_fields([entry])


@given(specs, targets)
def test_only_preferred_terms_over_hosts_are_left(spec: Manifest, target: Target) -> None:
    after = member_spec(spec, pod(), target)
    anti = after.get("affinity", {}).get("podAntiAffinity", {})
    assert anti.keys() <= {"preferredDuringSchedulingIgnoredDuringExecution"}
    entries = [e["podAffinityTerm"] for e in anti.get("preferredDuringSchedulingIgnoredDuringExecution", [])]
    entries += after.get("topologySpreadConstraints", [])
    assert {entry["topologyKey"] for entry in entries} <= {"kubernetes.io/hostname"}


@given(term)
def test_an_anti_affinity_never_names_a_key_that_its_selector_names_too(entry: Manifest) -> None:
    entry["topologyKey"] = "kubernetes.io/hostname"
    anti = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [entry]}}
    after = member_spec({"containers": [], "affinity": anti}, pod(), Target(NAMES))["affinity"]["podAntiAffinity"]
    left = after["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"]
    assert not named_keys(left) & set(left.get("matchLabelKeys", []))


@given(spread)
def test_a_spread_constraint_never_names_a_key_that_its_selector_names_too(entry: Manifest) -> None:
    entry["topologyKey"] = "kubernetes.io/hostname"
    after = member_spec({"containers": [], "topologySpreadConstraints": [entry]}, pod(), Target(NAMES))
    left = after["topologySpreadConstraints"][0]
    assert not named_keys(left) & set(left.get("matchLabelKeys", []))


def named_keys(entry: Manifest) -> set[str]:
    return {expression["key"] for expression in entry["labelSelector"].get("matchExpressions", [])}


@given(specs, targets)
def test_every_mount_has_its_volume(spec: Manifest, target: Target) -> None:
    names = {v["name"] for v in spec.get("volumes", [])}
    containers = [*spec["containers"], *spec.get("initContainers", [])]
    for entry in containers:
        entry["volumeMounts"] = [m for m in entry.get("volumeMounts", []) if m["name"] in names]
    after = member_spec(spec, pod(), target)
    left = {v["name"] for v in after.get("volumes", [])}
    mounted = {
        m["name"] for c in [*after["containers"], *after.get("initContainers", [])] for m in c.get("volumeMounts", [])
    }
    assert mounted <= left


@given(specs)
def test_no_token_of_the_member_is_requested_unless_configured(spec: Manifest) -> None:
    for access in (ApiAccess.PARENT, ApiAccess.NONE):
        after = member_spec(copy.deepcopy(spec), pod(), Target(NAMES, access))
        sources = [s for v in after.get("volumes", []) for s in v.get("projected", {}).get("sources", [])]
        assert not any("serviceAccountToken" in s for s in sources)


@given(specs, targets)
def test_the_translation_does_not_change_the_parent_pod(spec: Manifest, target: Target) -> None:
    parent = pod(spec)
    before = bytes(parent.spec)
    member_pod(parent, target)
    assert bytes(parent.spec) == before


@pytest.mark.parametrize("field", sorted(DROPPED))
def test_each_field_in_the_table_of_dropped_fields_is_dropped(field: str) -> None:
    assert field not in member_spec(
        {"containers": [], field: {"x": 1} if field == "affinity" else []}, pod(), Target(NAMES)
    )


def test_an_annotation_records_the_restarts_of_earlier_member_pods() -> None:
    manifest = member_pod(pod(), Target(NAMES), restarts={"side": 1, "app": 2})
    assert manifest["metadata"]["annotations"]["vk-provider.io/restarts"] == '{"app":2,"side":1}'


def test_owners_and_finalizers_of_the_parent_pod_are_not_copied() -> None:
    manifest = member_pod(pod(finalizers=["batch.kubernetes.io/job-tracking"], ownerReferences=[]), Target(NAMES))
    assert manifest["metadata"].keys() == {"name", "namespace", "labels", "annotations"}
