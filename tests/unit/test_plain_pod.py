"""A plain pod costs little: it enters few files of translate/, because quick checks of its bytes skip the rest.

The quick checks may return a false yes, but never a false no. The properties compare them with the complete answers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

import vk_provider.translate
from tests.unit.calls import calls
from tests.unit.pods import NAMES, TARGET, Manifest, as_pod, pod, read_yaml
from tests.unit.test_translation_properties import specs, targets
from vk_provider.api.membercluster import ApiAccess
from vk_provider.kube.objects import Pod, encode, fields
from vk_provider.translate.dependents.certificates import certificate_sources
from vk_provider.translate.dependents.needs import needs
from vk_provider.translate.pods.admission import host_port_clash, is_unchecked
from vk_provider.translate.pods.constraints import HOSTNAME
from vk_provider.translate.pods.decide import Create, Reflect, decide, needs_admission
from vk_provider.translate.pods.differences import differences
from vk_provider.translate.pods.pod import Owner, Target, may_lose_fields, member_pod
from vk_provider.translate.pods.status import has_no_status, reflected, status_patch
from vk_provider.translate.references import (
    host_ports,
    mentions_certificates,
    mentions_dependents,
    mentions_extended_resources,
)

GOLDEN: Final = Path(__file__).parent / "golden"
FOLDER: Final = Path(vk_provider.translate.__file__).parent
NOW: Final = datetime(2026, 3, 1, 10, tzinfo=UTC)
SCHEDULED: Final = {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-01T10:00:00Z"}
PLAIN: Final = pod(
    {
        "automountServiceAccountToken": False,
        "nodeName": "member-a",
        "nodeSelector": {"type": "virtual-kubelet"},
        "restartPolicy": "Never",
        "serviceAccountName": "default",
        "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300}],
        "containers": [
            {
                "name": "app",
                "image": "registry.example.com/app:1",
                "env": [{"name": "A", "value": "1"}],
                "ports": [{"containerPort": 80}],
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            }
        ],
    },
    {"phase": "Pending", "conditions": [SCHEDULED]},
    generation=1,
    labels={"app": "web"},
)


@contextmanager
def entered() -> Iterator[set[str]]:
    """The files of translate/ with functions that the block calls."""
    files: set[str] = set()
    with calls(FOLDER, lambda _, file: files.add(file)):
        yield files


def test_the_creation_of_a_plain_pod_enters_four_files() -> None:
    with entered() as files:
        assert decide(PLAIN, None, NAMES, now=NOW) == Create()
        assert not needs_admission(PLAIN)
        assert not mentions_dependents(PLAIN)
        assert not mentions_certificates(PLAIN)
        member_pod(PLAIN, TARGET, owner=Owner("shop", "n-1"), known={"cpu", "memory"})
        assert not may_lose_fields(PLAIN, TARGET)
    assert files == {"pods/decide.py", "pods/pod.py", "references.py", "names.py"}


def test_the_status_of_a_plain_pod_enters_three_files() -> None:
    times = {"lastProbeTime": None, "lastTransitionTime": "2026-03-01T10:00:02Z"}
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    status = {
        "phase": "Running",
        "observedGeneration": 1,
        "conditions": [{"type": kind, "status": "True", "observedGeneration": 1} | times for kind in kinds],
        "containerStatuses": [{"name": "app", "restartCount": 0, "ready": True, "state": {"running": {}}}],
        "podIP": "10.0.0.1",
    }
    manifest = member_pod(PLAIN, TARGET)
    member = as_pod(manifest | {"metadata": manifest["metadata"] | {"uid": "m-1", "generation": 1}, "status": status})
    with entered() as files:
        assert decide(PLAIN, member, NAMES, now=NOW) == Reflect()
        assert not has_no_status(member)
        patch = status_patch(PLAIN, reflected(PLAIN, member, now="2026-03-01T10:00:03Z"))
    assert patch is not None and patch["status"]["phase"] == "Running"
    assert files == {"pods/decide.py", "pods/status.py", "names.py"}


quantities = st.dictionaries(st.sampled_from(["cpu", "memory", "example.com/gpu"]), st.just("1"), max_size=2)
resources = st.fixed_dictionaries({}, optional={"requests": quantities, "limits": quantities})
ports = st.lists(st.fixed_dictionaries({"containerPort": st.just(80)}, optional={"hostPort": st.just(80)}), max_size=1)
volume_sources: list[Manifest] = [
    {"emptyDir": {}},
    {"persistentVolumeClaim": {"claimName": "data"}},
    {"secret": {"secretName": "keys"}},
    {"csi": {"driver": "d", "nodePublishSecretRef": {"name": "keys"}}},
    {"projected": {"sources": [{"clusterTrustBundle": {"name": "b", "path": "p"}}]}},
    {"projected": {"sources": [{"podCertificate": {"signerName": "s/s", "keyType": "ED25519", "keyPath": "k"}}]}},
]
more_volumes = st.lists(st.sampled_from(volume_sources), max_size=1).map(
    lambda found: [{"name": f"more-{index}", **source} for index, source in enumerate(found)]
)


@st.composite
def parents(draw: st.DrawFn) -> Pod:
    """Pods that are plain, or have a few of the fields for which a check must return yes."""
    bare = draw(st.booleans())
    spec: Manifest = {"containers": [{"name": "app", "image": "app:1"}]} if bare else draw(specs)
    for container in spec["containers"]:
        container |= {"resources": draw(resources), "ports": draw(ports)}
    spec["volumes"] = [*spec.get("volumes", []), *draw(more_volumes)]
    spec |= draw(
        st.fixed_dictionaries(
            {},
            optional={
                "serviceAccountName": st.sampled_from(["default", "web"]),
                "nodeSelector": st.just({"disk": "ssd"}),
                "imagePullSecrets": st.just([{"name": "registry"}]),
                "affinity": st.just({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {}}}),
            },
        )
    )
    return pod(spec, draw(st.sampled_from([{}, {"conditions": [SCHEDULED]}])))


@given(parents(), targets)
def test_a_pod_that_cannot_lose_fields_misses_nothing(parent: Pod, target: Target) -> None:
    member = member_pod(parent, target, known={"cpu", "memory"})
    missed = [each for each in differences({"spec": fields(parent.spec)}, member, target) if each.missed]
    assert may_lose_fields(parent, target) or not missed


@given(parents())
def test_a_pod_that_mentions_no_dependents_needs_none(parent: Pod) -> None:
    found = needs(parent)
    some = bool(found.references or found.tokens or found.bundles or certificate_sources(parent))
    assert mentions_dependents(parent) or not some
    assert mentions_certificates(parent) or not certificate_sources(parent)


@given(parents())
def test_a_pod_that_needs_no_admission_is_admitted(parent: Pod) -> None:
    assert needs_admission(parent) or not (host_ports(parent) or is_unchecked(parent))
    assert needs_admission(parent) or host_port_clash(parent, [pod(fields(parent.spec), uid="older")]) is None


@given(parents())
def test_a_pod_that_mentions_no_extended_resources_keeps_all_requests(parent: Pod) -> None:
    with_all, with_none = (member_pod(parent, TARGET, known=known) for known in (None, frozenset[str]()))
    assert mentions_extended_resources(parent) or with_all == with_none


def required(kind: str) -> Manifest:
    terms = [{"topologyKey": HOSTNAME}]
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize(
    ("spec", "access"),
    [
        (required("podAffinity"), ApiAccess.PARENT),
        (required("podAntiAffinity"), ApiAccess.PARENT),
        (
            {"topologySpreadConstraints": [{"topologyKey": HOSTNAME, "whenUnsatisfiable": "DoNotSchedule"}]},
            ApiAccess.PARENT,
        ),
        (
            {"volumes": [{"name": "v", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}]},
            ApiAccess.NONE,
        ),
        ({"serviceAccountName": "web", "future": {"serviceAccountName": "default"}}, ApiAccess.MEMBER),
    ],
)
def test_the_check_for_lost_fields_finds_each_kind(spec: Manifest, access: ApiAccess) -> None:
    parent, target = pod(spec), Target(NAMES, access)
    assert any(each.missed for each in differences({"spec": fields(parent.spec)}, member_pod(parent, target), target))
    assert may_lose_fields(parent, target)
    assert not may_lose_fields(PLAIN, target)


@pytest.mark.parametrize(
    ("check", "spec"),
    [
        (mentions_dependents, {"volumes": [{"projected": {"sources": [{"serviceAccountToken": {}}]}}]}),
        (mentions_dependents, {"containers": [{"envFrom": [{"configMapRef": {"name": "x"}}]}]}),
        (needs_admission, {"nodeSelector": {"disk": "ssd"}}),
        (mentions_dependents, {"imagePullSecrets": [{"name": "registry"}]}),
        (mentions_certificates, {"volumes": [{"projected": {"sources": [{"podCertificate": {}}]}}]}),
        (mentions_extended_resources, {"containers": [{"resources": {"limits": {"example.com/gpu": "1"}}}]}),
        (needs_admission, {"containers": [{"ports": [{"hostPort": 80}]}]}),
    ],
)
def test_each_quick_check_finds_its_fields(check: Callable[[Pod], bool], spec: Manifest) -> None:
    assert check(pod(spec))
    assert not check(PLAIN)


def test_quick_checks_do_not_depend_on_white_space_in_json() -> None:
    spec = {"containers": [{"resources": {"requests": {"cpu": "1", "example.com/gpu": "1"}}}]}
    spaced = as_pod({"metadata": {"name": "a"}})
    spaced.spec = type(spaced.spec)(encode(spec).replace(b":", b" : ").replace(b"{", b"{ "))
    assert mentions_extended_resources(spaced)


def test_a_typical_complete_pod_cannot_lose_fields() -> None:
    assert not may_lose_fields(as_pod(read_yaml(GOLDEN / "whole-pod" / "parent.yaml")), TARGET)
