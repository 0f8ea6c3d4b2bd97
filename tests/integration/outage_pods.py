"""Pods in a member during an outage of the parent, and queries of the provider's log and writes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from tests import members, workloads
from tests.cluster import Cluster, Json
from tests.integration.ways import PATIENCE
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    IMAGE,
    phase,
    restart_count,
    runs,
    set_status,
    start_idle,
    wait_until_running,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import NODES, PODS


@dataclass
class Case:
    """Pods of which one is unchanged, and the others change in the member during the outage."""

    parent: Cluster
    alpha: Cluster
    namespace: str
    before: dict[str, str]  # name -> UID in the member
    audited: tuple[int, int]
    provider: Provider
    written: int

    @classmethod
    def begin(cls, parent: Cluster, alpha: Cluster, provider: Provider, namespace: str, *more: str) -> Case:
        names = ("stays", "restarts", "ended", "lost", "once", *more)
        for name in names:
            tolerations = [{"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0}]
            policy = "Never" if name in ("ended", "once") else "Always"
            spec = {"tolerations": tolerations} if name == "evicted" else {}
            parent.create(PODS, workloads.idle(name, restartPolicy=policy, **spec), namespace)
        for name in names:
            start_idle(alpha, name, namespace, seconds=PATIENCE)
        for name in names:
            wait_until_running(parent, name, namespace, PATIENCE)
        audited = parent.audit_position(), alpha.audit_position()
        return cls(parent, alpha, namespace, uids(alpha, namespace), audited, provider, len(provider.log))

    def change_in_the_member(self) -> None:
        """A container restarts, another one ends, and another client deletes two pods."""
        state = {"running": {"startedAt": "2030-01-01T00:01:00Z"}}
        container = {"name": "web", "image": IMAGE, "imageID": "", "ready": True, "restartCount": 1, "state": state}
        set_status(self.alpha, "restarts", self.namespace, containerStatuses=[container])
        ended = {"exitCode": 0, "startedAt": "2030-01-01T00:00:00Z", "finishedAt": "2030-01-01T00:00:01Z"}
        statuses = [container | {"ready": False, "restartCount": 0, "state": {"terminated": ended}}]
        set_status(self.alpha, "ended", self.namespace, phase="Succeeded", containerStatuses=statuses)
        for name in ("lost", "once"):
            self.alpha.delete(PODS, name, self.namespace, grace_seconds=0)

    def wait_until_reported(self, running: list[str]) -> None:
        parent, namespace = self.parent, self.namespace
        eventually(lambda: self.alpha.find(PODS, "lost", namespace), "a lost pod is recreated", PATIENCE)
        start_idle(self.alpha, "lost", namespace, seconds=PATIENCE)
        eventually(lambda: restart_count(runs(parent, "lost", namespace)()) == 1, "the pod runs again", PATIENCE)
        eventually(lambda: restart_count(runs(parent, "restarts", namespace)()) == 1, "a restart is reported", PATIENCE)
        eventually(lambda: phase(parent, "ended", namespace) == "Succeeded", "an end is reported", PATIENCE)
        eventually(
            lambda: phase(parent, "once", namespace) == "Failed",
            "a pod that must not restart is not recreated",
            PATIENCE,
        )
        assert parent.get(PODS, "once", namespace)["status"]["reason"] == wellknown.MEMBER_POD_LOST
        for name in running:
            eventually(lambda it=name: is_ready(parent, it, namespace), f"{name} is Ready", PATIENCE)  # type: ignore[misc]
        members.wait_until_served(parent, "alpha", PATIENCE)

    def check(self, *, made: dict[str, int], deleted: set[str]) -> None:
        """Checks the provider's writes to pods in both clusters, and that all other pods are unchanged."""
        assert self._done(self.alpha, self.audited[1], "create", 201) == made
        assert set(self._done(self.alpha, self.audited[1], "delete", 200)) == deleted
        assert set(self._done(self.parent, self.audited[0], "delete", 200)) == deleted - {"forced"}
        after = uids(self.alpha, self.namespace)
        assert {name: after[name] for name in ("stays", "restarts", "ended")} == {
            name: self.before[name] for name in ("stays", "restarts", "ended")
        }
        log = self.provider.log[self.written :]
        assert "state=Lost" not in log, "the member was always reachable"
        logged = [line for line in lines(log, "level=warning") if "node not written" in line]
        assert len(logged) <= 2, "the warning about an outage is not repeated"

    def _done(self, cluster: Cluster, since: int, verb: str, status: int) -> Counter[str]:
        return Counter(
            request.name
            for request in cluster.requests(since)
            if (request.agent, request.resource, request.subresource) == ("vk-provider", "pods", "")
            if (request.namespace, request.verb, request.status) == (self.namespace, verb, status)
        )


def lines(log: str, text: str) -> list[str]:
    return [line for line in log.splitlines() if text in line]


def taints(parent: Cluster, node: str) -> set[str]:
    return {taint["key"] for taint in parent.get(NODES, node)["spec"].get("taints", [])}


def not_ready(parent: Cluster, since: str) -> list[Json]:
    """The conditions that the provider wrote to its node after that position, except Ready=True."""
    found = []
    for node in parent.history(NODES, "alpha", since):
        ready = next(each for each in node["status"]["conditions"] if each["type"] == "Ready")
        if ready["status"] == "False":
            found.append(ready)
    return found


def is_ready(cluster: Cluster, name: str, namespace: str) -> bool:
    conditions = runs(cluster, name, namespace)()["status"]["conditions"]
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)


def uids(cluster: Cluster, namespace: str) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.list(PODS, namespace)}
