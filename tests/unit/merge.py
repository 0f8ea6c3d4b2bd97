"""Strategic merge patches as an API server applies them to pods: only the parts that this project uses.

(https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from vk_provider.kube.objects import Pod, encode, fields

# Lists that are merged by a key. All other lists are replaced.
_MERGE_KEYS = {
    "conditions": "type",
    "podIPs": "ip",
    "hostIPs": "ip",
    "containers": "name",
    "initContainers": "name",
    "ephemeralContainers": "name",
}


def merge(current: Any, patch: Mapping[str, Any]) -> dict[str, Any]:
    """The object after the patch."""
    if patch.get("$patch") == "replace" or not isinstance(current, Mapping):
        return {key: value for key, value in patch.items() if key != "$patch" and value is not None}
    found = dict(current)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            found[key] = merge(found.get(key), value)
        elif isinstance(value, list) and key in _MERGE_KEYS:
            found[key] = _merge_list(found.get(key) or [], value, _MERGE_KEYS[key])
        else:
            found[key] = value
    return found


def _merge_list(current: list[Any], patch: list[Any], key: str) -> list[Any]:
    entries = [entry for entry in patch if entry != {"$patch": "replace"}]
    found = {} if len(entries) < len(patch) else {entry[key]: entry for entry in current}
    for entry in entries:
        if entry.get("$patch") == "delete":
            found.pop(entry[key], None)
        else:
            found[entry[key]] = merge(found.get(entry[key]), entry)
    return list(found.values())


def apply_status(pod: Pod, patch: Mapping[str, Any] | None) -> Pod:
    """The pod after a patch of its status."""
    return _with(pod, status=encode(merge(fields(pod.status), (patch or {}).get("status", {}))))


def apply_pod(pod: Pod, patch: Mapping[str, Any]) -> Pod:
    """The pod after a patch of its metadata and spec, through any subresource."""
    merged = merge(
        {
            "metadata": {"labels": pod.metadata.labels, "annotations": pod.metadata.annotations},
            "spec": fields(pod.spec),
        },
        patch,
    )
    metadata = msgspec.structs.replace(
        pod.metadata, labels=merged["metadata"]["labels"], annotations=merged["metadata"]["annotations"]
    )
    return Pod(metadata=metadata, spec=msgspec.Raw(encode(merged["spec"])), status=pod.status)


def _with(pod: Pod, *, status: bytes) -> Pod:
    return Pod(metadata=pod.metadata, spec=pod.spec, status=msgspec.Raw(status))
