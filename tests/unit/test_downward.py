"""What containers read of their pod: the values of the parent pod, also where it is a member pod of another parent."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import msgspec
import pytest

from tests.unit.pods import NAMES, TARGET, Manifest, as_pod, pod
from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.translate.names import Names
from vk_provider.translate.pods.change import changes
from vk_provider.translate.pods.downward import text
from vk_provider.translate.pods.pod import Target, member_pod

LIMIT: Final = 256 * 1024  # bytes of all annotations of an object
KIB: Final = 1024
TOP: Final = Target(Names("top-node", "top"))
MIDDLE: Final = Target(Names("middle-node", "middle"))
BOTTOM: Final = Target(Names("bottom-node", "bottom", "x-"))


def shows(*paths: str) -> Manifest:
    """A pod that shows these fields in files."""
    items = [{"path": str(index), "fieldRef": {"fieldPath": path}} for index, path in enumerate(paths)]
    return {"volumes": [{"name": "podinfo", "downwardAPI": {"items": items}}]}


def read(member: Manifest) -> list[str]:
    """What a kubelet writes into the files of a pod."""
    found = []
    for item in member["spec"]["volumes"][0]["downwardAPI"]["items"]:
        path: str = item["fieldRef"]["fieldPath"]
        part, _, key = path.removeprefix("metadata.").partition("['")
        value = member["metadata"][part]
        found.append(value.get(key.removesuffix("']"), "") if key else value)
    return found


def created(manifest: Manifest, uid: str) -> Pod:
    return as_pod(manifest | {"metadata": manifest["metadata"] | {"uid": uid}})


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_the_user_reads_the_same_at_any_level(levels: int) -> None:
    paths = ("spec.nodeName", "metadata.uid", "spec.serviceAccountName", "metadata.labels", "metadata.namespace")
    current = pod(shows(*paths) | {"serviceAccountName": "web", "nodeName": "top-node"}, labels={"app": "web"})
    manifest: Manifest = {}
    for level, target in enumerate((TOP, MIDDLE, BOTTOM)[:levels]):
        manifest = member_pod(current, target)
        manifest["spec"] |= {"nodeName": target.names.node, "serviceAccountName": "default"}
        current = created(manifest, f"m-{level}")
    assert read(manifest) == ["top-node", "p-1", "web", 'app="web"', "shop"]


def test_a_changed_label_arrives_two_levels_below() -> None:
    middle = created(member_pod(pod(shows("metadata.labels"), labels={"app": "web"}), TOP), "m-1")
    bottom = created(member_pod(middle, MIDDLE), "m-2")
    changed = created(member_pod(pod(shows("metadata.labels"), labels={"app": "new"}), TOP), "m-1")
    (change,) = changes(changed, bottom, MIDDLE)
    assert 'app="new"' in change.patch["metadata"]["annotations"].values()


def size(annotations: Manifest) -> int:
    return sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())


@pytest.mark.parametrize("kib", [20, 120, 140, 250])
def test_annotations_that_an_api_server_accepts_can_be_shown_in_a_file(kib: int) -> None:
    annotations = {"workflows.example.com/template": "x" * kib * KIB, "note": "n"}
    member = member_pod(pod(shows("metadata.annotations"), annotations=annotations), TARGET)
    assert size(member["metadata"]["annotations"]) <= LIMIT
    assert text(annotations).splitlines() == [line for line in read(member)[0].splitlines() if "config." not in line]
    assert member["metadata"]["annotations"]["note"] == "n"


def test_an_annotation_that_is_shown_by_itself_stays() -> None:
    paths = ("metadata.annotations", "metadata.annotations['a']")
    member = member_pod(pod(shows(*paths), annotations={"a": "x" * 100 * KIB, "b": "y" * 70 * KIB}), TARGET)
    assert read(member)[1] == "x" * 100 * KIB
    assert size(member["metadata"]["annotations"]) <= LIMIT or "b" not in member["metadata"]["annotations"]


def test_large_annotations_that_no_file_shows_stay() -> None:
    member = member_pod(pod(annotations={"a": "x" * 250 * KIB}), TARGET)
    assert len(member["metadata"]["annotations"]["a"]) == 250 * KIB


def test_an_annotation_that_has_grown_is_removed_from_the_member_pod_and_stays_in_the_file() -> None:
    small, large = ({"out": "y" * kib * KIB} for kib in (1, 140))
    member = created(member_pod(pod(shows("metadata.annotations"), annotations=small), TARGET), "m-1")
    grown = pod(shows("metadata.annotations"), annotations=large, labels={"progress": "half"})
    (change,) = changes(grown, member, TARGET)
    assert change.patch["metadata"]["annotations"]["out"] is None
    assert large["out"] in change.patch["metadata"]["annotations"][wellknown.PARENT_ANNOTATIONS]
    assert change.patch["metadata"]["labels"] == {"progress": "half"}
    after = member_pod(grown, TARGET)["metadata"]
    metadata = msgspec.structs.replace(member.metadata, labels=after["labels"], annotations=after["annotations"])
    assert changes(grown, Pod(metadata, member.spec, member.status), TARGET) == []


def test_a_file_has_the_annotations_that_a_kubelet_adds() -> None:
    parent = pod(shows("metadata.annotations"), annotations={"z": "1"}, creationTimestamp="2026-03-01T10:00:00Z")
    assert read(member_pod(parent, TARGET)) == [
        'kubernetes.io/config.seen="2026-03-01T10:00:00Z"\nkubernetes.io/config.source="api"\nz="1"'
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\U0001fae8", "\U0001fae8"),  # of 2022: Unicode 15.0
        ("\U0001f600", "\U0001f600"),
        ("\U000323af", "\U000323af"),
        ("\u200b", "\\u200b"),
        ("\u00a0", "\\u00a0"),
        ("\U0001343f", "\\U0001343f"),  # of 2022, and a format control
        ("\x7f", "\\x7f"),
        ("\u0378", "\\u0378"),  # not assigned
    ],
)
def test_characters_are_escaped_as_by_a_kubelet(value: str, shown: str) -> None:
    assert text({"k": value}) == f'k="{shown}"'


ADDRESS: Final = {
    "KUBERNETES_SERVICE_HOST": "192.0.2.1",
    "KUBERNETES_SERVICE_PORT": "6443",
    "KUBERNETES_SERVICE_PORT_HTTPS": "6443",
    "KUBERNETES_PORT": "tcp://192.0.2.1:6443",
    "KUBERNETES_PORT_443_TCP": "tcp://192.0.2.1:6443",
    "KUBERNETES_PORT_443_TCP_PROTO": "tcp",
    "KUBERNETES_PORT_443_TCP_PORT": "6443",
    "KUBERNETES_PORT_443_TCP_ADDR": "192.0.2.1",
}
BY_IP: Final = replace(TARGET, parent_host="192.0.2.1")
ALIASES: Final = ["kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]


def test_all_variables_of_the_api_server_mean_the_parent() -> None:
    spec = member_pod(pod(), BY_IP)["spec"]
    assert {entry["name"]: entry["value"] for entry in spec["containers"][0]["env"]} == ADDRESS
    assert spec["hostAliases"] == [{"ip": "192.0.2.1", "hostnames": ALIASES}]


def test_an_ipv6_address_is_in_brackets_where_a_port_follows() -> None:
    spec = member_pod(pod(), replace(TARGET, parent_host="2001:db8::1"))["spec"]
    env = {entry["name"]: entry["value"] for entry in spec["containers"][0]["env"]}
    assert (env["KUBERNETES_PORT"], env["KUBERNETES_PORT_443_TCP_ADDR"]) == ("tcp://[2001:db8::1]:6443", "2001:db8::1")
    assert spec["hostAliases"][0]["ip"] == "2001:db8::1"


@pytest.mark.parametrize(
    ("target", "spec"),
    [
        pytest.param(TARGET, {}, id="the address is a name"),
        pytest.param(BY_IP, {"hostNetwork": True}, id="the names of the node"),
        pytest.param(Target(NAMES), {}, id="the address is unknown"),
    ],
)
def test_names_of_the_api_server_are_only_given_to_an_ip(target: Target, spec: Manifest) -> None:
    assert "hostAliases" not in member_pod(pod(spec), target)["spec"]


def test_aliases_of_the_user_and_of_a_provider_above_stay() -> None:
    own = [{"ip": "192.0.2.9", "hostnames": ALIASES[:1]}, {"ip": "192.0.2.1", "hostnames": ["api"]}]
    assert member_pod(pod({"hostAliases": own}), BY_IP)["spec"]["hostAliases"] == [
        own[0],
        {"ip": "192.0.2.1", "hostnames": ["api", *ALIASES[1:]]},
    ]
    above = member_pod(pod(), BY_IP)
    below = member_pod(as_pod(above), replace(TARGET, parent_host="192.0.2.2"))
    assert below["spec"]["hostAliases"] == above["spec"]["hostAliases"]
    assert below["spec"]["containers"] == above["spec"]["containers"]
