"""Lines of an audit log of kube-apiserver."""

from __future__ import annotations

import json
from typing import Any

ME = "system:serviceaccount:kube-system:program-under-test"


def line(verb: str, resource: str = "pods", *, user: str = ME, **more: Any) -> bytes:
    """One line of an audit log of kube-apiserver. `at` and `took` are in seconds."""
    reference, _, subresource = resource.partition("/")
    at, took = more.get("at", 0.0), more.get("took", 0.0)
    entry = {
        "kind": "Event",
        "stage": more.get("stage", "ResponseComplete"),
        "verb": verb,
        "user": {"username": user, "groups": ["system:authenticated"]},
        "requestReceivedTimestamp": f"2025-01-02T03:04:{at:09.6f}Z",
        "stageTimestamp": f"2025-01-02T03:04:{at + took:09.6f}Z",
        "responseStatus": {"metadata": {}, "code": more.get("code", 200)},
    }
    if resource:
        about = {"resource": reference, "name": more.get("name", "web-0"), "namespace": "bench", "apiVersion": "v1"}
        entry["objectRef"] = about | ({"subresource": subresource} if subresource else {})
    return json.dumps(entry).encode()
