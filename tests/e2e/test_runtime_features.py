"""Optional features of the container runtime: they work or fail as on a plain node, with the same message."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import pytest
from demo.world import World

from tests.e2e import probes
from tests.e2e.probes import Json
from tests.e2e.test_pods import BUSYBOX


def _spec(script: str, **more: Any) -> Json:
    command = ["sh", "-c", f"{{ {script}; }} > {probes.REPORT}"]
    mounts = [{"name": "image", "mountPath": "/image"}] if "volumes" in more else []
    container = {"name": "main", "image": BUSYBOX, "command": command, "volumeMounts": mounts}
    return {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [container], **more}


_SPECS: Final = {
    "user-namespace": _spec("echo mapped=$(awk '{ print $2 != 0 }' /proc/self/uid_map)", hostUsers=False),
    "image-volume": _spec(
        "echo found=$(ls /image/bin/sh)",
        volumes=[{"name": "image", "image": {"reference": BUSYBOX, "pullPolicy": "IfNotPresent"}}],
    ),
}


@dataclass(frozen=True)
class Outcome:
    """The outcome of a pod: the report of its container, or the error about the missing feature."""

    phase: str
    waiting: tuple[str, str]
    report: dict[str, str]
    warnings: set[tuple[str, str]]


@dataclass(frozen=True)
class Side:
    """The pods in the parent, pinned to alpha, or, with `cluster`, created directly in alpha."""

    world: World
    namespace: str
    cluster: str = ""

    def manifests(self) -> str:
        selector = {} if self.cluster else {"nodeSelector": {"vk-provider.io/cluster": "alpha"}}
        pods = [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec | selector}
            for name, spec in _SPECS.items()
        ]
        return json.dumps({"apiVersion": "v1", "kind": "List", "items": pods})

    def outcome(self, name: str) -> Outcome:
        """The current outcome of a pod."""
        status = self.world.get("pod", name, "-n", self.namespace, cluster=self.cluster)["status"]
        events = self.world.objects("events", "-n", self.namespace, cluster=self.cluster)
        state = (status.get("containerStatuses") or [{}])[0].get("state", {})
        message = state.get("terminated", {}).get("message", "")
        return Outcome(
            phase=status["phase"],
            waiting=_reason(state.get("waiting", {})),
            report=dict(line.split("=", 1) for line in message.splitlines() if "=" in line),
            warnings={
                _reason(event)
                for event in events
                if event["involvedObject"]["name"] == name and event["type"] == "Warning"
            },
        )

    def finished(self, name: str) -> bool:
        outcome = self.outcome(name)
        return outcome.phase in ("Succeeded", "Failed") or bool(outcome.warnings)


def _reason(of: Json) -> tuple[str, str]:
    """Reason and message without the id of the container, which differs between attempts."""
    return of.get("reason", ""), re.sub("[0-9a-f]{64}", "<id>", of.get("message", ""))


@pytest.fixture(scope="module")
def sides(world: World) -> Iterator[tuple[Side, Side]]:
    suffix = uuid.uuid4().hex[:8]
    parent, plain = Side(world, f"runtime-{suffix}"), Side(world, f"directly-{suffix}", "alpha")
    world.kubectl("create", "namespace", parent.namespace)
    world.create_in("alpha", "namespace", plain.namespace)
    world.until(
        "both namespaces have a service account",
        lambda: all(
            world.get("serviceaccount", "default", "-n", side.namespace, cluster=side.cluster)
            for side in (parent, plain)
        ),
    )
    world.kubectl("create", "-n", parent.namespace, "-f", "-", stdin=parent.manifests())
    world.create_in("alpha", "-n", plain.namespace, "-f", "-", stdin=plain.manifests())
    yield parent, plain
    world.kubectl("delete", "namespace", parent.namespace, "--wait=false")
    world.delete_in("alpha", "namespace", plain.namespace)


@pytest.mark.parametrize("name", list(_SPECS))
def test_a_runtime_feature_works_or_fails_as_on_a_plain_node(sides: tuple[Side, Side], name: str) -> None:
    parent, plain = sides
    parent.world.until(f"pod {name} has completed or failed", lambda: all(side.finished(name) for side in sides))
    parent.world.until(
        f"pod {name} has the same outcome in the parent as on a plain node",
        lambda: parent.outcome(name) == plain.outcome(name),
    )
