"""Pods for tests, decoded from dicts and YAML files as from the answer of an API server."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

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
T = TypeVar("T")


def decoded(manifest: Manifest, type: type[T]) -> T:
    """Decodes the manifest as from the answer of an API server."""
    return msgspec.json.decode(encode(manifest), type=type)


def as_pod(manifest: Manifest) -> Pod:
    return decoded(manifest, Pod)


def as_node(manifest: Manifest) -> Node:
    return decoded(manifest, Node)


def pod(
    spec: Manifest | None = None,
    status: Manifest | None = None,
    *,
    name: str = "web-1",
    uid: str = "p-1",
    **metadata: Any,
) -> Pod:
    """A pod with one container; `spec`, `status` and `metadata` (in the names of JSON) add to it."""
    return as_pod(
        {
            "metadata": {"name": name, "namespace": "shop", "uid": uid, **metadata},
            "spec": {"containers": [{"name": "app", "image": "app:1"}], **(spec or {})},
            "status": status or {},
        }
    )


def read_yaml(path: Path) -> Any:
    """One YAML document, with times as strings, as in JSON."""
    return yaml.load(path.read_text(), Loader=_Loader)


def read_target(folder: Path) -> Target:
    """The target of a golden folder, from its `target.yaml` if there is one."""
    file = folder / "target.yaml"
    options: dict[str, str] = read_yaml(file) if file.exists() else {}
    return Target(
        names=Names(node=NAMES.node, parent=NAMES.parent, prefix=options.get("prefix", "")),
        api_access=ApiAccess(options.get("apiAccess", "Parent")),
        parent_host=options.get("parentHost", TARGET.parent_host),
        parent_port=options.get("parentPort", TARGET.parent_port),
    )


class _Loader(yaml.SafeLoader):
    """Does not parse times."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
