"""A node of a member: a kubelet with containers that are entries in the history. It keeps the promises of a real
kubelet.

A container starts when the pod is bound, and ends after the time in the annotation LIVES. On deletion, the container
ends first; only then is the pod removed, by UID. The container of a pod that was deleted by force ends at once.
Containers run on while the API server does not answer, and while the node is away (`leave`), unless it has crashed.

kwok cannot do this: it deletes by name, twice, and so may delete the next pod with this name.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from tests.chaos.history import Container, History
from tests.chaos.watching import Api, Handler
from vk_provider.api import wellknown

LIVES: Final = "example.com/lives"  # annotation: seconds until the container ends by itself; none: it runs on
EXIT_CODE: Final = "example.com/exit-code"  # annotation: the exit code of that container
_LEASE_EVERY: Final = 5.0  # seconds
_AGAIN: Final = 0.3  # seconds between attempts
_STRATEGIC: Final = "strategic-merge-patch+json"

Json = dict[str, Any]


@dataclass
class _Pod:
    """A pod of the node: the last observed object, and the index of its container in the history."""

    pod: Json
    changed: asyncio.Event
    gone: bool = False
    index: int | None = None
    restarts: int = 0
    crashed: bool = False
    shown: Json | None = None  # its last status


class Kubelet:
    """`run` simulates a node of `member` until it is cancelled. `leave` and `come_back` from its event loop."""

    def __init__(self, member: str, node: str, api: Api, history: History, seed: int) -> None:
        self._member, self._node, self._api, self._history = member, node, api, history
        self._rng = random.Random(f"{seed} {node}")
        self._pods: dict[str, _Pod] = {}
        self._here = asyncio.Event()  # it reaches its API server
        self._here.set()
        self._missed: list[tuple[str, Json]] = []  # the events of pods while it is away
        self._handle: Handler = lambda kind, pod: None

    def leave(self, *, crash: bool) -> None:
        """The node no longer reaches its API server. `crash`: its containers end."""
        self._here.clear()
        for it in self._pods.values() if crash else ():
            it.crashed = self._runs(it)
            self._end(it)
            it.changed.set()

    def come_back(self) -> None:
        self._here.set()
        missed, self._missed = self._missed, []
        for kind, pod in missed:
            self._handle(kind, pod)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_lease())

            def handle(kind: str, pod: Json) -> None:
                if not self._here.is_set():
                    self._missed.append((kind, pod))
                    return
                uid = pod["metadata"]["uid"]
                known = self._pods.get(uid)
                if known is None:
                    ended = pod.get("status", {}).get("phase") in ("Succeeded", "Failed")
                    if kind == "DELETED" or (ended and "deletionTimestamp" not in pod["metadata"]):
                        return
                    known = self._pods[uid] = _Pod(pod, asyncio.Event())
                    group.create_task(self._run_pod(uid, known))
                known.pod = pod
                if kind == "DELETED":
                    known.gone = True
                    self._end(known)  # after a deletion by force, the container may still run
                known.changed.set()

            self._handle = handle
            await self._api.follow(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{self._node}", handle)

    async def _register(self) -> None:
        labels = {"kubernetes.io/os": "linux", "kubernetes.io/hostname": self._node}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self._node, "labels": labels}}
        await self._api.request("POST", "/api/v1/nodes", node)

    async def report(self, *, ready: bool) -> None:
        """Repeated, because the node controller sets another status after the Lease has expired, as after a cut."""
        size = {"cpu": "64", "memory": "64Gi", "pods": "500"}
        conditions = [{"type": "Ready", "status": str(ready), "reason": "Test", "message": ""}]
        body = {"status": {"capacity": size, "allocatable": size, "conditions": conditions}}
        path = f"/api/v1/nodes/{self._node}/status"
        if await self._api.request("PATCH", path, body, kind=_STRATEGIC) is None and ready:
            await self._register()
            await self._api.request("PATCH", path, body, kind=_STRATEGIC)

    async def _keep_lease(self) -> None:
        leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
        while True:
            await self._here.wait()
            spec = {
                "holderIdentity": self._node,
                "leaseDurationSeconds": 40,
                "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            }
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": spec}
            try:
                if not await self._api.request("PATCH", f"{leases}/{self._node}", body, kind="merge-patch+json"):
                    await self._api.request("POST", leases, body | {"metadata": {"name": self._node}})
                await self.report(ready=True)
            except (aiohttp.ClientError, TimeoutError):
                pass
            await asyncio.sleep(_LEASE_EVERY)

    async def _run_pod(self, uid: str, it: _Pod) -> None:
        """Runs a pod from its first observation to its end."""
        await asyncio.sleep(self._rng.uniform(0.0, 0.5))
        annotations = it.pod["metadata"].get("annotations", {})
        lives, code = float(annotations.get(LIVES, 0) or 0), int(annotations.get(EXIT_CODE, 0))
        policy = it.pod["spec"]["restartPolicy"]
        while True:
            await self._here.wait()
            if self._ending(it):
                break
            self._start(uid, it)
            await self._write_status(it, "Running", {"running": {"startedAt": _now()}}, ready=True)
            if not await self._ends_by_itself(it, lives):
                break
            self._end(it)
            await self._here.wait()
            code, it.crashed = 255 if it.crashed else code, False
            if policy == "Never" or (policy == "OnFailure" and code == 0):
                phase = "Failed" if code else "Succeeded"
                await self._write_status(it, phase, _terminated(code))
                await self._until_ending(it)
                break
            it.restarts, code = it.restarts + 1, 0 if policy == "OnFailure" else code
            await asyncio.sleep(1.0)
        if not it.gone:
            await self._stop(it)
        self._pods.pop(uid, None)

    async def _stop(self, it: _Pod) -> None:
        """Ends the container, and then removes the pod."""
        await self._here.wait()
        if self._runs(it):
            grace = it.pod["metadata"].get("deletionGracePeriodSeconds") or 0
            try:
                async with asyncio.timeout(self._rng.uniform(0.0, min(1.5, grace))):
                    while not it.gone:
                        it.changed.clear()
                        await it.changed.wait()
            except TimeoutError:
                pass
            if it.gone:
                return
            self._end(it)
            await self._write_status(it, "Failed", _terminated(137))
        metadata = it.pod["metadata"]
        options = {"gracePeriodSeconds": 0, "preconditions": {"uid": metadata["uid"]}}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        while not it.gone:
            await self._here.wait()
            try:
                await self._api.request("DELETE", path, options)
            except (aiohttp.ClientError, TimeoutError):
                pass
            await self._change(it, _AGAIN)

    async def _ends_by_itself(self, it: _Pod, lives: float) -> bool:
        deadline = time.monotonic() + lives if lives else None
        while not self._ending(it):
            left = None if deadline is None else deadline - time.monotonic()
            if it.crashed or (left is not None and left <= 0):
                return True
            if it.shown is not None and self._here.is_set() and _differs(it.pod, it.shown):
                await self._send_status(it, it.shown)
                left = _AGAIN if left is None else min(left, _AGAIN)
            await self._change(it, left)
        return False

    async def _until_ending(self, it: _Pod) -> None:
        while not self._ending(it):
            await self._change(it, None)

    async def _change(self, it: _Pod, seconds: float | None) -> None:
        it.changed.clear()
        if it.gone:
            return
        try:
            async with asyncio.timeout(seconds):
                await it.changed.wait()
        except TimeoutError:
            pass

    def _ending(self, it: _Pod) -> bool:
        return it.gone or "deletionTimestamp" in it.pod["metadata"]

    def _runs(self, it: _Pod) -> bool:
        return it.index is not None and self._history.containers[it.index].ended is None

    def _start(self, uid: str, it: _Pod) -> None:
        parent = it.pod["metadata"].get("annotations", {}).get(wellknown.PARENT_UID, "")
        policy = it.pod["spec"]["restartPolicy"]
        key = f"{it.pod['metadata']['namespace']}/{it.pod['metadata']['name']}"
        container = Container(self._member, uid, parent, policy, time.monotonic(), key=key)
        it.index = self._history.put_container(None, container)

    def _end(self, it: _Pod) -> None:
        if it.index is not None and self._runs(it):
            container = self._history.containers[it.index]
            self._history.put_container(it.index, replace(container, ended=time.monotonic()))

    async def _write_status(self, it: _Pod, phase: str, state: Json, *, ready: bool = False) -> None:
        containers = it.pod["spec"]["containers"]
        status = {
            "phase": phase,
            "podIP": "10.0.0.1",
            "conditions": [
                {"type": kind, "status": str(ready or kind == "Initialized"), "lastTransitionTime": _now()}
                for kind in ("Initialized", "ContainersReady", "Ready")
            ],
            "containerStatuses": [
                {
                    "name": one["name"],
                    "image": one["image"],
                    "imageID": "",
                    "ready": ready,
                    "restartCount": it.restarts,
                    "state": state,
                }
                for one in containers
            ],
        }
        it.shown = status
        await self._send_status(it, status)

    async def _send_status(self, it: _Pod, status: Json) -> None:
        metadata = it.pod["metadata"]
        body = {"metadata": {"uid": metadata["uid"]}, "status": status}
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}/status"
        while not it.gone:
            await self._here.wait()
            try:
                await self._api.request("PATCH", path, body, kind=_STRATEGIC)
                return  # an error status means that the pod no longer exists
            except (aiohttp.ClientError, TimeoutError):
                await asyncio.sleep(_AGAIN)


def _differs(pod: Json, shown: Json) -> bool:
    """Whether another client has changed the Ready condition, as the node controller does while a node is away."""
    ready = [
        {c["type"]: c["status"] for c in status.get("conditions", ())}.get("Ready")
        for status in (pod.get("status", {}), shown)
    ]
    return ready[0] is not None and ready[0] != ready[1]


def _terminated(code: int) -> Json:
    return {"terminated": {"exitCode": code, "reason": "Error" if code else "Completed", "finishedAt": _now()}}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
