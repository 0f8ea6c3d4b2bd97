"""A parent and two members, the links to them and the provider. Performs the steps of a plan."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Any, Final

from tests import members
from tests.chaos import faults, hands, users
from tests.chaos.accounts import Account
from tests.chaos.actions import MEMBERS, NAMESPACES
from tests.chaos.flood import flood
from tests.chaos.history import PARENT, History
from tests.chaos.in_sync import Contents, out_of_sync, problems_of_node
from tests.chaos.machines import Machines
from tests.chaos.observers import Observers
from tests.chaos.plan import Step
from tests.cluster import ApiFailure, Cluster, Json
from tests.link import Link
from tests.provider import Provider
from tests.waiting import eventually
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import CONFIG_MAPS, NODES, PODS

PROVIDER_IDS: Final = {"alpha": "vk-provider://alpha", "beta": ""}  # spec.providerID of the Nodes
_MEMORY: Final = 300.0  # MiB of the provider, at most: three times what it needs for these pods
_PATIENCE: Final = 60.0  # seconds until a fault can be ended
_NO_EFFECT: Final = "the fault is not in effect"


class World:
    """The clusters and the provider. Use it from one thread; `observers` have another one."""

    def __init__(
        self,
        clusters: dict[str, Cluster],
        provider: Provider,
        links: dict[str, Link],
        history: History,
        observers: Observers,
        machines: Machines,
    ) -> None:
        self.clusters: dict[str, Cluster] = clusters
        self.provider, self.links, self.history, self.machines = provider, links, history, machines
        self.parent = clusters[PARENT]
        self.accounts: dict[str, Account] = {
            name: Account(clusters[name], self.parent, links[name]) for name in MEMBERS
        }
        self.effects: Counter[str] = Counter()  # the actions and faults that had an effect
        self._observers = observers
        self._active: dict[str, str] = {}  # place -> the fault there
        self._floods: dict[str, Future[Any]] = {}
        self._peak = 0.0  # MiB: memory of the provider
        self._steps: Mapping[str, Callable[[World, Step], str | None]] = {
            **users.STEPS,
            **hands.STEPS,
            "begin": lambda world, step: world._begin(step.about, step.args["fault"]),
            "end": lambda world, step: world._end(step.about),
            "kill": lambda world, step: world._kill(),
            "start": lambda world, step: world._start(),
        }

    def perform(self, step: Step) -> str:
        """Performs a step, and describes the result in a few words."""
        self._peak = max(self._peak, self.provider.resident)
        try:
            obstacle = self._steps[step.what](self, step)
        except ApiFailure as failure:
            return f"rejected ({failure.status})" if failure.status else "no answer"
        if obstacle:
            return f"nothing: {obstacle}"
        self.effects[step.args["fault"] if step.what == "begin" else step.what] += 1
        return "done"

    def heal(self) -> None:
        """Ends all faults, and starts everything that does not run."""
        self.end_faults()
        for account in self.accounts.values():
            account.move("link")
        self._start()

    def end_faults(self) -> None:
        for place in sorted(self._active, key=lambda place: place not in self.links):  # what the others need first
            eventually(partial(self._ended, place), f"the fault of {place} is ended", _PATIENCE)
        for cluster in self.clusters.values():
            cluster.supervise()

    def defects(self) -> list[str]:
        """What the provider must not do under any fault, as far as it shows outside of the pods."""
        lines = self.provider.log.splitlines()
        found = [f"the provider's log: {line}" for line in lines if "level=error" in line or "Traceback" in line]
        found += [f"a redirect of {name} was followed" for name, link in self.links.items() if link.followed]
        found += [
            f"an observer has failed, and other violations may follow from it: {e}" for e in self._observers.failures
        ]
        if self._peak > _MEMORY:
            found.append(f"the provider used {self._peak:.0f} MiB of memory")
        return found

    def problems(self) -> list[str]:
        """Everything that is out of sync; empty once the parent and its members are in sync."""
        if self.provider.crashed:
            return ["the provider has exited by itself"]
        for cluster in self.clusters.values():
            cluster.supervise()
        try:
            found = [text for name in MEMBERS for text in self._problems_of_member(name)]
            parent = Contents(
                [pod for name in NAMESPACES for pod in self.parent.list(PODS, name)],
                [config for name in NAMESPACES for config in self.parent.list(CONFIG_MAPS, name)],
            )
            contents = {name: self._ours(name) for name in MEMBERS}
            return found + list(out_of_sync(parent, contents))
        except ApiFailure as failure:
            return [str(failure)]

    def _problems_of_member(self, name: str) -> list[str]:
        self._release_orphans(name)
        node = self.parent.find(NODES, name)
        if node is None:
            return [f"Node {name} does not exist"]
        found = list(problems_of_node(node, PROVIDER_IDS[name]))
        if not members.is_served(self.parent, name):
            found.append(f"{name} is not served")
        if not found and self.parent.call("GET", NODES.path(name, subresource="proxy/healthz")) != "ok":
            found.append(f"the kubelet API of {name} does not answer")
        return found

    def _release_orphans(self, name: str) -> None:
        """An administrator confirms that the pods are gone in the parent: the brake may hold them after a restart."""
        cluster = self.parent.get(MEMBER_CLUSTERS, name)
        held = {c["type"]: c["status"] for c in cluster.get("status", {}).get("conditions", ())}
        if held.get("OrphansHeld") == "True":
            annotations = {wellknown.CONFIRM: wellknown.CONFIRM_ORPHANS}
            self.parent.patch(MEMBER_CLUSTERS, name, {"metadata": {"annotations": annotations}})

    def is_unreachable(self, cluster: str) -> bool:
        """Whether a fault keeps everyone from this cluster."""
        return self._active.get(cluster) in faults.UNREACHABLE

    def member_pods(self, member: str, namespace: str = "") -> list[Json]:
        """The pods of the provider in a member, by name."""
        labels = f"{wellknown.NODE_LABEL}={member}"
        pods = self.clusters[member].list(PODS, namespace, labels=labels)
        return sorted(pods, key=lambda pod: str(pod["metadata"]["name"]))

    def recorded(self, pods: list[Json]) -> list[Json]:
        """Those of these member pods whose creation the parent pod records, or whose parent pod does not exist."""
        unknown = {
            pod["metadata"]["uid"]
            for pod in self.parent.list(PODS)
            if not any(c["type"] == wellknown.CREATED_CONDITION for c in pod["status"].get("conditions", ()))
        }
        return [pod for pod in pods if pod["metadata"]["annotations"].get(wellknown.PARENT_UID) not in unknown]

    def end_pod(self, cluster: Cluster, pod: Json, grace: int | None) -> None:
        """Deletes exactly this pod, and records the deletion for the invariants."""
        name, namespace, uid = (pod["metadata"][key] for key in ("name", "namespace", "uid"))
        if cluster is not self.parent:
            self.history.interfere(uid)
        if grace == 0:
            self.history.force(uid)
        options: Json = {"preconditions": {"uid": uid}}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        cluster.call("DELETE", PODS.path(name, namespace), options)

    def flood(self, member: str) -> None:
        """Begins a flood on the kubelet API of the virtual node."""
        status = self.parent.get(NODES, member)["status"]
        host = next(each["address"] for each in status["addresses"] if each["type"] == "InternalIP")
        port = status["daemonEndpoints"]["kubeletEndpoint"]["Port"]
        self._floods[member] = self._observers.start(flood(host, port))

    def end_flood(self, member: str) -> None:
        if (running := self._floods.pop(member, None)) is not None:
            running.cancel()

    def _ours(self, name: str) -> Contents:
        labels = f"{wellknown.NODE_LABEL}={name}"
        return Contents(self.member_pods(name), self.clusters[name].list(CONFIG_MAPS, labels=labels))

    def _begin(self, place: str, name: str) -> str | None:
        fault = faults.TABLE[name]
        if fault.asks and self.is_unreachable(faults.member_of(place)):
            return "the cluster is not reachable"
        if place in self._active and not self._ended(place):
            return f"{self._active[place]} is still in effect"
        self._active[place] = name  # before it begins: half a fault has to be ended, too
        self.history.disturb(place, name, time.monotonic())
        fault.begin(self, place)
        return None

    def _end(self, place: str) -> str | None:
        if place not in self._active:
            return _NO_EFFECT
        return None if self._ended(place) else "not possible now"

    def _ended(self, place: str) -> bool:
        """Ends the fault of a place, if that is possible now."""
        fault = faults.TABLE[self._active[place]]
        if fault.asks and self.is_unreachable(faults.member_of(place)):
            return False
        fault.end(self, place)
        del self._active[place]
        self.history.calm(place, time.monotonic())
        if place in self.clusters:
            self.clusters[place].supervise()
        return True

    def _kill(self) -> None:
        self.history.disturb("provider", "killed", time.monotonic())
        self.provider.kill()

    def _start(self) -> None:
        self.provider.start()
        self.history.calm("provider", time.monotonic())
