"""What a pod has reported, and the shape of its status, to compare a pod of the parent with one of a plain cluster."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any, Final

from tests.e2e.probes import Json


def has_come_to_rest(pod: Json) -> bool:
    """Whether its kubelet has had its last word, or, for those that run on, is content."""
    status = pod.get("status", {})
    conditions = {condition["type"]: condition["status"] for condition in status.get("conditions", ())}
    if pod["spec"]["restartPolicy"] == "Always":
        return conditions.get("Ready") == "True"
    return status.get("phase") in ("Succeeded", "Failed") and conditions.get("PodReadyToStartContainers") == "False"


def report(pod: Json) -> dict[str, str]:
    """What the pod's main container has reported."""
    state = pod["status"]["containerStatuses"][0]["state"]
    text: str = state.get("terminated", {}).get("message", "")
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def lines(pod: Json) -> list[str]:
    """The shape of a pod's status, one fact a line."""
    return sorted(_lines("status", shape(pod)))


def _lines(field: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _lines(f"{field}.{key}", part)
    else:
        yield f"{field}: {value}"


# Times, addresses and identities differ from run to run; the generation counts changes that are each side's own.
_OWN: Final = frozenset(
    {"startedAt", "finishedAt", "startTime", "lastTransitionTime", "lastProbeTime", "containerID", "imageID"}
    | {"podIP", "podIPs", "hostIP", "hostIPs", "ip", "observedGeneration", "message"}
)


def shape(pod: Json) -> Json:
    """A pod's status as far as it must be the same wherever the pod runs: which fields there are, and what they say."""
    status = copy.deepcopy(pod["status"])
    if status["phase"] in ("Succeeded", "Failed"):
        # What the pod's cgroup says, which is a matter of the moment then: a kubelet takes the CPU away before the
        # cgroup, and its last word may be from before, from after, or from between.
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
