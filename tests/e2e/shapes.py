"""Reports and statuses of pods in a form that can be compared between the parent and a plain cluster."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, Final

from tests.e2e.probes import Json


def is_stable(pod: Json) -> bool:
    """Whether the status is final, or, for pods that keep running, Ready."""
    status = pod.get("status", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if pod["spec"]["restartPolicy"] == "Always":
        return conditions.get("Ready") == "True"
    return status.get("phase") in ("Succeeded", "Failed") and conditions.get("PodReadyToStartContainers") == "False"


def report(pod: Json) -> dict[str, str]:
    """The report of the pod's main container."""
    state = pod["status"]["containerStatuses"][0]["state"]
    text: str = state.get("terminated", {}).get("message", "")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def lines(pod: Json) -> list[str]:
    """The shape of a pod's status, with one value per line."""
    return sorted(_lines("status", shape(pod)))


def _lines(field: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _lines(f"{field}.{key}", part)
    else:
        yield f"{field}: {value}"


# Times, addresses and identities differ between runs. Each side counts its own generations.
_OWN: Final = frozenset(
    {"startedAt", "finishedAt", "startTime", "lastTransitionTime", "lastProbeTime", "containerID", "imageID"}
    | {"podIP", "podIPs", "hostIP", "hostIPs", "ip", "observedGeneration", "message"}
)


def shape(pod: Json) -> Json:
    """The part of a pod's status that must be the same in both clusters: fields, and values that do not vary."""
    status = copy.deepcopy(pod["status"])
    if status["phase"] in ("Succeeded", "Failed"):
        # These are read from the pod's cgroup. They depend on the time of the last status: a kubelet resets the CPU
        # before it removes the cgroup.
        status.pop("resources", None)
    status["conditions"] = sorted(
        (c for c in status["conditions"] if not c["type"].startswith("vk-provider.io/")), key=lambda c: str(c["type"])
    )
    shaped: Json = _shape(status)
    return shaped


def _shape(value: Any) -> Any:
    if isinstance(value, dict):
        shaped = {key: "?" if key in _OWN else _shape(part) for key, part in value.items()}
        return {key: part for key, part in shaped.items() if part not in (None, {}, "")}
    if isinstance(value, list):
        return [_shape(part) for part in value]
    return re.sub("^kube-api-access-.*", "kube-api-access", value) if isinstance(value, str) else value
