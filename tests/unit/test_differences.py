"""Differences between a parent pod and its member pod: all of them, and those that a user may miss."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from tests.unit.pods import NAMES, TARGET, Manifest, as_pod, pod, read_target, read_yaml
from tests.unit.test_translation_properties import specs, targets
from vk_provider.api.membercluster import ApiAccess
from vk_provider.kube.objects import Pod, fields
from vk_provider.translate.pods.differences import Difference, differences
from vk_provider.translate.pods.pod import DROPPED, Target, member_pod

GOLDEN = sorted(path for path in (Path(__file__).parent / "golden").iterdir() if path.is_dir())
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "pods.md"

# k8s.io/api/core/v1, PodSpec of Kubernetes 1.37, and `workloadRef` of 1.35.
POD_SPEC = """
    activeDeadlineSeconds affinity automountServiceAccountToken containers dnsConfig dnsPolicy enableServiceLinks
    ephemeralContainers evictionResponders hostAliases hostIPC hostNetwork hostPID hostUsers hostname hostnameOverride
    imagePullSecrets initContainers nodeName nodeSelector os overhead preemptionPolicy priority priorityClassName
    readinessGates resourceClaims resources restartPolicy runtimeClassName schedulerName schedulingGates schedulingGroup
    securityContext serviceAccount serviceAccountName setHostnameAsFQDN shareProcessNamespace subdomain
    terminationGracePeriodSeconds tolerations topologySpreadConstraints volumes workloadRef
""".split()


def found(parent: Pod, target: Target = TARGET) -> list[Difference]:
    return differences({"spec": fields(parent.spec)}, member_pod(parent, target), target)


def missed(parent: Pod, target: Target = TARGET) -> list[str]:
    return [difference.field for difference in found(parent, target) if difference.missed]


@given(specs, targets)
def test_every_difference_has_a_reason(spec: Manifest, target: Target) -> None:
    assert [difference.field for difference in found(pod(spec), target) if not difference.why] == []


@pytest.mark.parametrize("folder", GOLDEN, ids=lambda folder: folder.name)
def test_every_difference_of_a_golden_pair_has_a_reason(folder: Path) -> None:
    manifest, target = read_yaml(folder / "parent.yaml"), read_target(folder)
    reported = differences(manifest, member_pod(as_pod(manifest), target), target)
    assert [difference.field for difference in reported if not difference.why] == []


def test_a_dropped_field_is_reported_with_its_reason() -> None:
    assert Difference("spec.schedulerName", "dropped", DROPPED["schedulerName"]) in found(
        pod({"schedulerName": "mine"})
    )


def test_the_path_of_a_list_entry_contains_its_name() -> None:
    env = [{"name": "POD_UID", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}]
    reported = [difference.field for difference in found(pod({"containers": [{"name": "app", "env": env}]}))]
    assert "spec.containers[app].env[POD_UID].valueFrom.fieldRef.fieldPath" in reported
    assert "spec.containers[app].env[KUBERNETES_SERVICE_HOST]" in reported


def test_a_plain_pod_misses_nothing() -> None:
    assert missed(as_pod(read_yaml(Path(__file__).parent / "golden" / "whole-pod" / "parent.yaml"))) == []


def hosts(kind: str, topology: str) -> Manifest:
    terms = [{"topologyKey": topology, "labelSelector": {}}]
    return {"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}}


@pytest.mark.parametrize("kind", ["podAffinity", "podAntiAffinity"])
def test_required_affinity_over_hosts_is_missed(kind: str) -> None:
    field = f"spec.affinity.{kind}.requiredDuringSchedulingIgnoredDuringExecution"
    assert missed(pod(hosts(kind, "kubernetes.io/hostname"))) == [field]


@pytest.mark.parametrize("kind", ["podAffinity", "podAntiAffinity"])
def test_required_affinity_over_zones_which_the_parent_honours_is_not_missed(kind: str) -> None:
    assert missed(pod(hosts(kind, "topology.kubernetes.io/zone"))) == []


@pytest.mark.parametrize(("unsatisfiable", "wanted"), [("DoNotSchedule", 1), ("ScheduleAnyway", 0)])
def test_a_spread_over_hosts_is_missed_if_it_was_required(unsatisfiable: str, wanted: int) -> None:
    spread = {"topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": unsatisfiable, "minDomains": 2}
    assert len(missed(pod({"topologySpreadConstraints": [spread]}))) == wanted


def test_a_claim_is_missed() -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}
    assert missed(pod({"volumes": [volume]})) == ["spec.volumes[data].persistentVolumeClaim"]


@pytest.mark.parametrize(
    ("access", "account", "wanted"), [("Member", "web", 1), ("Member", "default", 0), ("Parent", "web", 0)]
)
def test_a_service_account_is_missed_with_api_access_to_the_member(access: str, account: str, wanted: int) -> None:
    parent = pod({"serviceAccountName": account})
    assert len(missed(parent, Target(NAMES, ApiAccess(access)))) == wanted


def test_a_requested_token_is_missed_without_api_access() -> None:
    sources: list[Manifest] = [{"serviceAccountToken": {"path": "t"}}, {"configMap": {"name": "c"}}]
    volume = {"name": "vault", "projected": {"sources": sources}}
    assert missed(pod({"volumes": [volume]}), Target(NAMES, ApiAccess.NONE)) == [
        "spec.volumes[vault].projected.sources"
    ]


def rows(heading: str) -> dict[str, list[str]]:
    """The table under a heading of the reference: field -> the other cells of its row."""
    section = REFERENCE.read_text().split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]
    table: dict[str, list[str]] = {}
    for line in re.findall(r"^\| (`.*) \|$", section, re.MULTILINE):
        cells: list[Any] = [cell.strip() for cell in line.split(" | ")]
        for field in re.findall(r"`([^`]+)`", cells[0]):
            assert field not in table, f"{field} is in the table twice"
            table[field] = cells[1:]
    return table


def test_the_reference_has_every_field_of_a_pod_spec() -> None:
    assert sorted(rows("spec")) == sorted(POD_SPEC)


def test_the_reference_has_the_same_reasons_as_the_program() -> None:
    table = rows("spec")
    assert {field: table[field][1] for field in DROPPED} == DROPPED
    assert all(table[field][0].startswith("dropped") for field in DROPPED)
