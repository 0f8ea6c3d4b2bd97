"""Pods from YAML files, as they are after the parent's admission."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import yaml

from vk_provider.errors import ConfigError

_TEMPLATES: Final[Mapping[str, tuple[str, ...]]] = {
    "Pod": (),
    "PodTemplate": ("template",),
    "CronJob": ("spec", "jobTemplate", "spec", "template"),
}
_TEMPLATE: Final = ("spec", "template")  # of every other workload
_ACCOUNT_DIR: Final = "/var/run/secrets/kubernetes.io/serviceaccount"


def read(text: str, source: str, *, namespace: str, uid: str) -> list[dict[str, Any]]:
    """The pods of a YAML stream: pods, pods within Lists, and one for each pod template.

    `namespace` and `uid` are defaults. Raises ConfigError, which names `source`.
    """
    try:
        found = [pod for document in yaml.load_all(text, Loader=_Loader) for pod in _pods(document)]
    except yaml.YAMLError as error:
        raise ConfigError(f"{source} is not YAML: {error}", reason="InvalidYaml") from error
    if not found:
        raise ConfigError(f"{source} has no pod and no object with a pod template", reason="NoPod")
    for pod in found:
        containers = pod["spec"].get("containers")
        if not isinstance(containers, list) or not all(isinstance(one, dict) and "name" in one for one in containers):
            name = pod["metadata"]["name"]
            raise ConfigError(
                f"{source}: spec.containers of pod {name} is not a list of containers with names", reason="InvalidPod"
            )
        pod["metadata"] = {"namespace": namespace, "uid": uid} | pod["metadata"]
        _admit(pod["spec"])
    return found


def _pods(document: Any) -> Iterator[dict[str, Any]]:
    items = document.get("items", [document]) if isinstance(document, dict) else []
    for item in items:
        if isinstance(item, dict) and (pod := _pod(item)) is not None:
            yield pod


def _pod(item: dict[str, Any]) -> dict[str, Any] | None:
    metadata: dict[str, Any] = item.get("metadata") or {}
    template: Any = item
    for step in _TEMPLATES.get(item.get("kind", ""), _TEMPLATE):
        template = template.get(step) if isinstance(template, dict) else None
    if not isinstance(template, dict) or not isinstance(template.get("spec"), dict):
        return None
    if template is not item:
        suffix = "-0" if item.get("kind") == "StatefulSet" else "-xxxxx"
        place = {"namespace": metadata["namespace"]} if metadata.get("namespace") else {}
        metadata = {**(template.get("metadata") or {}), **place, "name": f"{metadata.get('name', 'pod')}{suffix}"}
    metadata = {key: value for key, value in metadata.items() if value is not None}
    return {"metadata": {"name": metadata.get("generateName", "pod-") + "xxxxx"} | metadata, "spec": template["spec"]}


def _admit(spec: dict[str, Any]) -> None:
    """Adds the volume of the service account, as the parent's admission does when a pod is created."""
    if spec.get("automountServiceAccountToken") is False:
        return
    name = "kube-api-access-xxxxx"
    mount = {"name": name, "mountPath": _ACCOUNT_DIR, "readOnly": True}
    without = [
        container
        for kind in ("initContainers", "containers")
        for container in spec.get(kind) or ()
        if all(entry.get("mountPath") != _ACCOUNT_DIR for entry in container.get("volumeMounts") or ())
    ]
    for container in without:
        container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]
    if without:
        field = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
        sources = [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [field]}},
        ]
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": name, "projected": {"sources": sources}}]


class _Loader(yaml.SafeLoader):
    """Keeps times as text: JSON has no type for them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
