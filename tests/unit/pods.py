"""Pods for tests, from dicts and YAML files as an API server would send them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from vk_provider.api.membercluster import ApiAccess
from vk_provider.kube.objects import Node, Pod, encode
from vk_provider.translate.names import Names
from vk_provider.translate.pods.pod import Target

PARENT = "11111111-aaaa-4aaa-8aaa-000000000001"  # UID of the parent's kube-system namespace
NAMES = Names(node="member-a", parent=PARENT)
TARGET = Target(names=NAMES, parent_host="parent.example.com", parent_port="6443")

Manifest = dict[str, Any]


def as_pod(manifest: Manifest) -> Pod:
    """The manifest as it comes off the wire."""
    return msgspec.json.decode(encode(manifest), type=Pod)


def as_node(manifest: Manifest) -> Node:
    """The manifest as it comes off the wire."""
    return msgspec.json.decode(encode(manifest), type=Node)


def pod(
    spec: Manifest | None = None,
    status: Manifest | None = None,
    *,
    name: str = "web-1",
    uid: str = "p-1",
    **metadata: Any,
) -> Pod:
    """A pod of one container; `spec` and `status` on top, `metadata` as in JSON."""
    return as_pod(
        {
            "metadata": {"name": name, "namespace": "shop", "uid": uid, **metadata},
            "spec": {"containers": [{"name": "app", "image": "app:1"}], **(spec or {})},
            "status": status or {},
        }
    )


def read_yaml(path: Path) -> Any:
    """One YAML document, times kept as the strings that JSON has."""
    return yaml.load(path.read_text(), Loader=_Loader)


def read_target(folder: Path) -> Target:
    """The target that a golden folder asks for."""
    file = folder / "target.yaml"
    asked: dict[str, str] = read_yaml(file) if file.exists() else {}
    return Target(
        names=Names(node=NAMES.node, parent=NAMES.parent, prefix=asked.get("prefix", "")),
        api_access=ApiAccess(asked.get("apiAccess", "Parent")),
        parent_host=asked.get("parentHost", TARGET.parent_host),
        parent_port=asked.get("parentPort", TARGET.parent_port),
    )


class _Loader(yaml.SafeLoader):
    """Leaves times alone."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
