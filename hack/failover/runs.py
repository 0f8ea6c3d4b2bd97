"""One function per measurement, on running clusters, with a provider that serves alpha and beta."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import localkube
from demo.scenes import IMAGE
from demo.world import World

FAST: Final = {"probeSeconds": 0.5, "lostAfterSeconds": 3, "returnAfterSeconds": 5}
_APP: Final = "failover"
_BLIP: Final = 10.0  # seconds
_AFTERWARDS: Final = 30.0  # seconds; a late eviction happens within them
_PATIENCE: Final = 600.0  # seconds for any condition


def set_health(world: World, thresholds: dict[str, Any] | None) -> None:
    """Sets the thresholds of both members; None: the defaults."""
    for member in world.members:
        body = json.dumps({"spec": {"health": thresholds}})
        world.kubectl("patch", "membercluster", member, "--type=merge", "-p", body)
    world.until("both virtual nodes are Ready", world.ready)


def prepare(world: World, replicas: int, node: str = "alpha", other: str = "beta") -> None:
    """Creates a Deployment, and waits until all its replicas are Ready on `node`."""
    world.kubectl("cordon", other)
    world.kubectl("apply", "-f", "-", stdin=json.dumps(_deployment(replicas)))
    world.until(f"all replicas are Ready on {node}", lambda: _ready_replicas(world) == replicas, _PATIENCE)
    world.kubectl("uncordon", other)


def clean_up(world: World, root: Path) -> None:
    """Heals the link, deletes the Deployment, and waits until its pods are gone and both members are Ready."""
    localkube.heal("alpha", root=root)
    world.kubectl("delete", "deployment", _APP, "--wait=false")
    world.until("its pods are gone", lambda: not world.pods(f"app={_APP}"), _PATIENCE)
    world.until("both virtual nodes are Ready", world.ready, _PATIENCE)


def failover(world: World, root: Path, replicas: int) -> float:
    """The seconds from the cut of alpha's link until all replicas are Ready in beta."""
    prepare(world, replicas)
    started = time.monotonic()
    localkube.cut("alpha", root=root)
    world.until("all replicas are Ready in beta", lambda: len(_ready(world, "beta")) >= replicas, _PATIENCE)
    took = time.monotonic() - started
    clean_up(world, root)
    return took


def blip(world: World, root: Path, replicas: int) -> float:
    """The number of pods that a short cut of alpha's link moves."""
    prepare(world, replicas)
    before = {pod["metadata"]["uid"] for pod in _ready(world, "alpha")}
    localkube.cut("alpha", root=root)
    time.sleep(_BLIP)
    localkube.heal("alpha", root=root)
    time.sleep(_AFTERWARDS)
    world.until("both virtual nodes are Ready", world.ready, _PATIENCE)
    evicted = before - {pod["metadata"]["uid"] for pod in _not_deleted(world)}
    clean_up(world, root)
    return float(len(evicted))


def rate(world: World, root: Path, pods: int) -> float:
    """The pods per second that move from alpha to beta, after alpha's node has been tainted."""
    prepare(world, pods)
    localkube.cut("alpha", root=root)
    found = _rate(world, pods, "alpha")
    clean_up(world, root)
    return found


def plain_rate(world: World, pods: int) -> float:
    """The same between the nodes plain-1 and plain-2 of a plain cluster: the limit of its controllers and scheduler."""
    prepare(world, pods, "plain-1", "plain-2")
    world.kubectl("taint", "node", "plain-1", "failover=now:NoExecute")
    return _rate(world, pods, "plain-1")


def _rate(world: World, pods: int, node: str) -> float:
    world.until(f"node {node} is tainted", lambda: _is_tainted(world, node), _PATIENCE)
    started = time.monotonic()
    world.until("pods are evicted", lambda: _ready_replicas(world) < pods, _PATIENCE)
    world.until("all replicas are Ready elsewhere", lambda: _ready_replicas(world) == pods, _PATIENCE)
    return pods / (time.monotonic() - started)


def repeat(times: int, measure: Callable[[], float], found: Callable[[float], None]) -> None:
    for _ in range(times):
        found(measure())


def _not_deleted(world: World, node: str = "") -> list[dict[str, Any]]:
    return [
        pod
        for pod in world.pods(f"app={_APP}")
        if "deletionTimestamp" not in pod["metadata"] and (not node or pod["spec"].get("nodeName") == node)
    ]


def _ready(world: World, node: str) -> list[dict[str, Any]]:
    return [
        pod
        for pod in _not_deleted(world, node)
        if any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))
    ]


def _ready_replicas(world: World) -> int:
    """The number in the Deployment's status. Listing all pods takes more CPU than moving them."""
    count: int = world.get("deployment", _APP)["status"].get("readyReplicas", 0)
    return count


def _is_tainted(world: World, node: str) -> bool:
    taints = world.get("node", node)["spec"].get("taints", ())
    return any(taint["effect"] == "NoExecute" for taint in taints)


def _deployment(replicas: int) -> dict[str, Any]:
    tolerations = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}
        for key in ("not-ready", "unreachable")
    ]
    container = {"name": "main", "image": IMAGE, "args": ["pause"], "resources": {"requests": {"cpu": "1m"}}}
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "tolerations": tolerations,
        "containers": [container],
    }
    labels = {"app": _APP}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": _APP},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }
