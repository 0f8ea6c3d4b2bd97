"""`vk-provider render`: the member pod of a pod, for people and for programs, without a cluster."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from tests.unit.pods import Manifest
from vk_provider.cli.root import cli

POD = """
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, creationTimestamp: 2026-03-01T10:00:00Z}
spec:
  priorityClassName: important
  containers:
  - name: app
    image: app:1
    envFrom: [{configMapRef: {name: settings}}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: data-0}
"""
BARE: Manifest = {"automountServiceAccountToken": False, "containers": [{"name": "app", "image": "app:1"}]}


def render(text: str, *options: str) -> Result:
    return CliRunner().invoke(cli, ["render", "-f", "-", "--member", "west", *options], input=text)


def as_json(text: str, *options: str) -> Any:
    result = render(text, "-o", "json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def workload(kind: str, template: Manifest, **metadata: str) -> str:
    spec = {"jobTemplate": {"spec": {"template": template}}} if kind == "CronJob" else {"template": template}
    return json.dumps({"kind": kind, "metadata": {"name": "web", **metadata}, "spec": spec})


def test_the_output_is_the_member_pod() -> None:
    document = yaml.safe_load(render(POD).stdout)
    assert (document["kind"], document["metadata"]["name"]) == ("Pod", "web")
    assert "priorityClassName" not in document["spec"]


def test_each_difference_is_a_comment_with_its_reason() -> None:
    lines = render(POD).stdout.splitlines()
    assert "#   dropped    spec.priorityClassName: a PriorityClass of the parent" in lines


def test_differences_that_a_user_may_miss_are_marked() -> None:
    marked = [line.split()[4] for line in render(POD).stdout.splitlines() if line.startswith("# ! ")]
    assert marked == ["spec.volumes[data].persistentVolumeClaim:"]


def test_dependents_are_listed() -> None:
    found = as_json(POD)["dependents"]
    assert [(one["kind"], one["namespace"], one["of"]) for one in found] == [
        ("ConfigMap", "shop", "copy of shop/kube-root-ca.crt"),
        ("ConfigMap", "shop", "copy of shop/settings"),
        ("Secret", "shop", "tokens of the parent for service account default: 1"),
    ]


def test_trust_bundles_and_certificates_are_dependents_too() -> None:
    sources: list[Manifest] = [
        {"clusterTrustBundle": {"name": "ca", "path": "ca.pem"}},
        {"podCertificate": {"signerName": "example.com/web", "keyType": "ED25519", "credentialBundlePath": "web.pem"}},
    ]
    spec = BARE | {"volumes": [{"name": "tls", "projected": {"sources": sources}}]}
    found = as_json(json.dumps({"kind": "Pod", "metadata": {"name": "web"}, "spec": spec}))
    assert [(one["kind"], one["of"]) for one in found["dependents"]] == [
        ("ConfigMap", "ClusterTrustBundles of the parent"),
        ("Secret", "certificates that the parent signs: 1"),
    ]
    assert all(change["why"] for change in found["changes"])


def test_json_has_the_differences_for_programs() -> None:
    changes = {change["field"]: change for change in as_json(POD)["changes"]}
    assert changes["spec.priorityClassName"] == {
        "field": "spec.priorityClassName",
        "what": "dropped",
        "why": "a PriorityClass of the parent",
        "missed": False,
    }


def test_the_options_for_prefix_and_node_name_apply() -> None:
    options = ("--namespace-prefix", "east-", "--node-name", "node-east")
    metadata = as_json(POD, *options)["pod"]["metadata"]
    assert (metadata["namespace"], metadata["labels"]["vk-provider.io/node"]) == ("east-shop", "node-east")


def test_the_service_account_volume_is_added_as_the_parent_does_at_admission() -> None:
    def volumes(access: str) -> list[str]:
        return [volume["name"] for volume in as_json(POD, "--api-access", access)["pod"]["spec"]["volumes"]]

    assert (volumes("Parent"), volumes("None")) == (["data", "kube-api-access-xxxxx"], ["data"])


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"])
def test_a_workload_is_rendered_from_its_template(kind: str) -> None:
    template = {"metadata": {"labels": {"app": "web"}}, "spec": BARE}
    metadata = as_json(workload(kind, template, namespace="shop"))["pod"]["metadata"]
    assert metadata["name"].startswith("web-")
    assert (metadata["namespace"], metadata["labels"]["app"]) == ("shop", "web")


def test_every_pod_of_a_file_is_rendered() -> None:
    items = [json.loads(workload("Job", {"spec": BARE})), {"kind": "Service"}]
    text = "\n---\n".join([POD, "kind: Service", json.dumps({"kind": "List", "items": items})])
    assert [one["pod"]["metadata"]["name"] for one in as_json(text)] == ["web", "web-xxxxx"]


def test_the_output_for_a_pod_that_cannot_run_is_the_reason() -> None:
    spec = BARE | {"resourceClaims": [{"name": "gpu"}]}
    text = json.dumps({"kind": "Pod", "metadata": {"name": "web"}, "spec": spec})
    assert "dynamic resource allocation" in as_json(text)["refused"]
    assert "# The pod would be Failed instead: " in render(text).stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Service", "error: <stdin> has no pod and no object with a pod template"),
        ("a: [", "error: <stdin> is not YAML"),
        (
            "{kind: Pod, metadata: {name: web}, spec: {}}",
            "spec.containers of pod web is not a list of containers with names",
        ),
        ("{kind: Pod, metadata: {name: web}, spec: {containers: [{name: a, env: 3}]}}", "pod web is not a valid pod"),
    ],
)
def test_the_error_about_input_without_pods_is_one_line(text: str, message: str) -> None:
    result = render(text)
    assert (result.exit_code, len(result.stderr.splitlines())) == (1, 1)
    assert message in result.stderr
