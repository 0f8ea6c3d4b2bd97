"""A parent and two members, the links to them and the provider. Performs the steps of a plan."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import localkube

from tests import members
from tests.chaos import manifests
from tests.chaos.history import PARENT, History
from tests.chaos.in_sync import Contents, out_of_sync
from tests.chaos.kubelet import Kubelet
from tests.chaos.plan import MEMBERS, NAMESPACES, Step
from tests.chaos.watching import Api, into
from tests.cluster import DEPLOYMENTS, STRATEGIC, ApiFailure, Cluster, Json
from tests.integration.connecting import admin_token, document
from tests.link import FAULTS, Link
from tests.provider import Provider
from vk_provider.api import wellknown
from vk_provider.kube.resources import CONFIG_MAPS, PODS, Resource
from vk_provider.kube.resources import NAMESPACES as NAMESPACE

STATEFUL_SETS: Final = Resource("apps", "v1", "statefulsets", "StatefulSet")
JOBS: Final = Resource("batch", "v1", "jobs", "Job")
_FAST: Final = {"probeSeconds": 1, "lostAfterSeconds": 5, "returnAfterSeconds": 2}


class World:
    """The clusters and the provider. Use it from one thread; observers and kubelets run in another one."""

    def __init__(self, clusters: dict[str, Cluster], provider: Provider, links: dict[str, Link]) -> None:
        self.clusters, self.provider, self.links = clusters, provider, links
        self.parent = clusters[PARENT]
        self.history = History()
        self._unreachable: dict[str, str] = {}  # cluster -> the fault because of which it does not answer
        self._steps: dict[str, Callable[[Step], None]] = {
            "create pod": self._create_pod,
            "delete pod": self._delete_pod,
            "recreate pod": self._recreate_pod,
            "label pod": lambda step: self._patch(PODS, step, {"metadata": {"labels": {"tier": step.args["tier"]}}}),
            "set image of pod": lambda step: self._patch(PODS, step, manifests.image(step.args["image"])),
            "create deployment": lambda step: self._create(step, DEPLOYMENTS, manifests.deployment(step)),
            "scale deployment": lambda step: self._patch(DEPLOYMENTS, step, manifests.replicas(step)),
            "set image of deployment": lambda step: self._patch(
                DEPLOYMENTS, step, {"spec": {"template": manifests.image(step.args["image"])}}
            ),
            "delete deployment": lambda step: self._delete(DEPLOYMENTS, step),
            "create statefulset": lambda step: self._create(step, STATEFUL_SETS, manifests.stateful_set(step)),
            "scale statefulset": lambda step: self._patch(STATEFUL_SETS, step, manifests.replicas(step)),
            "delete statefulset": lambda step: self._delete(STATEFUL_SETS, step),
            "create job": lambda step: self._create(step, JOBS, manifests.job(step)),
            "delete job": self._delete_job,
            "delete some pod": self._delete_some_pod,
            "write config": self._write_config,
            "delete config": lambda step: self._delete(CONFIG_MAPS, step),
            "delete namespace": lambda step: self.parent.delete(NAMESPACE, step.about),
            "delete member pod": self._delete_member_pod,
            "begin": self._begin,
            "end": self._end,
            "kill": lambda step: self.provider.kill(),
            "start": lambda step: self.provider.start(),
        }

    def perform(self, step: Step) -> str:
        """Performs a step, and describes the result in a few words."""
        try:
            self._steps[step.what](step)
        except ApiFailure as failure:
            return f"rejected ({failure.status})" if failure.status else "no answer"
        return "done"

    def heal(self) -> None:
        """Ends all faults, and starts everything that does not run."""
        for name in self.clusters:
            self._recover(name)
        self.provider.start()

    def defects(self) -> list[str]:
        """Errors and tracebacks in the provider's log."""
        lines = self.provider.log.splitlines()
        return [f"the provider's log: {line}" for line in lines if "level=error" in line or "Traceback" in line]

    def problems(self) -> list[str]:
        """Everything that is out of sync; empty once the parent and its members are in sync."""
        if self.provider.crashed:
            return ["the provider has exited by itself"]
        for cluster in self.clusters.values():
            cluster.supervise()
        try:
            found = [f"{name} is not served" for name in MEMBERS if not members.is_served(self.parent, name)]
            parent = Contents(
                [pod for name in NAMESPACES for pod in self.parent.list(PODS, name)],
                [config for name in NAMESPACES for config in self.parent.list(CONFIG_MAPS, name)],
            )
            contents = {name: self._ours(name) for name in MEMBERS}
            return found + list(out_of_sync(parent, contents))
        except ApiFailure as failure:
            return [str(failure)]

    def _ours(self, name: str) -> Contents:
        labels = f"{wellknown.NODE_LABEL}={name}"
        cluster = self.clusters[name]
        return Contents(cluster.list(PODS, labels=labels), cluster.list(CONFIG_MAPS, labels=labels))

    def _create_pod(self, step: Step) -> None:
        args = step.args
        lives = args["lives"] if args["policy"] != "Always" else 0
        spec = manifests.pod_spec(args["policy"], lives, args["exit_code"], config=args["config"])
        self._create(step, PODS, {"metadata": manifests.metadata(lives, args["exit_code"]), "spec": spec})

    def _recreate_pod(self, step: Step) -> None:
        try:
            self._delete_pod(step)
        except ApiFailure as failure:
            if failure.status != 404:
                raise
        self._create(
            step, PODS, {"metadata": manifests.metadata(0, 0), "spec": manifests.pod_spec(step.args["policy"], 0, 0)}
        )

    def _create(self, step: Step, resource: Resource, body: Json) -> None:
        namespace, name = step.about.split("/")
        body = {**body, "metadata": body.get("metadata", {}) | {"name": name}}
        try:
            self.parent.create(resource, body, namespace)
        except ApiFailure as failure:
            if failure.status != 404:
                raise
            self.parent.create(NAMESPACE, {"metadata": {"name": namespace}})
            raise

    def _patch(self, resource: Resource, step: Step, body: Json) -> None:
        namespace, name = step.about.split("/")
        self.parent.patch(resource, name, body, namespace, content_type=STRATEGIC)

    def _delete(self, resource: Resource, step: Step) -> None:
        namespace, name = step.about.split("/")
        self.parent.delete(resource, name, namespace)

    def _delete_pod(self, step: Step) -> None:
        namespace, name = step.about.split("/")
        self._end_pod(self.parent, self.parent.get(PODS, name, namespace), step.args["grace"])

    def _end_pod(self, cluster: Cluster, pod: Json, grace: int | None) -> None:
        """Deletes exactly this pod, and records the deletion for the invariants."""
        uid = pod["metadata"]["uid"]
        if cluster is not self.parent:
            self.history.interfere(uid)
        if grace == 0:
            self.history.force(uid)
        options: Json = {"preconditions": {"uid": uid}}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        cluster.call("DELETE", PODS.path(_name(pod), pod["metadata"]["namespace"]), options)

    def _delete_job(self, step: Step) -> None:
        namespace, name = step.about.split("/")
        self.parent.call("DELETE", JOBS.path(name, namespace), {"propagationPolicy": "Background"})

    def _delete_some_pod(self, step: Step) -> None:
        pods = sorted(self.parent.list(PODS, step.about), key=_name)
        if pods:
            self._end_pod(self.parent, pods[step.args["index"] % len(pods)], step.args["grace"])

    def _write_config(self, step: Step) -> None:
        namespace, name = step.about.split("/")
        data = {"data": {"value": step.args["value"]}}
        try:
            self.parent.patch(CONFIG_MAPS, name, data, namespace)
        except ApiFailure as failure:
            if failure.status != 404:
                raise
            self.parent.create(CONFIG_MAPS, {"metadata": {"name": name}, **data}, namespace)

    def _delete_member_pod(self, step: Step) -> None:
        """A client of the member deletes a pod of the provider.

        Not while the member does not answer, when the time of the deletion would be unknown. Not a pod whose creation
        the parent pod does not record yet.
        """
        name = step.about
        if name in self._unreachable:
            return
        cluster = self.clusters[name]
        pods = sorted(cluster.list(PODS, labels=f"{wellknown.NODE_LABEL}={name}"), key=_name)
        known = {
            pod["metadata"]["uid"]
            for pod in self.parent.list(PODS)
            if any(c["type"] == wellknown.CREATED_CONDITION for c in pod["status"].get("conditions", ()))
        }
        pods = [pod for pod in pods if pod["metadata"]["annotations"].get(wellknown.PARENT_UID) in known]
        if pods:
            self._end_pod(cluster, pods[step.args["index"] % len(pods)], step.args["grace"])

    def _begin(self, step: Step) -> None:
        name, fault = step.about, step.args["fault"]
        if fault in FAULTS:
            self.links[name].fault(fault)
            return
        self._unreachable[name] = fault
        if fault == "stopped":
            self.clusters[name].stop("apiserver")
        else:
            self.clusters[name].cut()

    def _end(self, step: Step) -> None:
        self._recover(step.about)

    def _recover(self, name: str) -> None:
        self.links[name].heal()
        match self._unreachable.pop(name, ""):
            case "stopped":
                self.clusters[name].start("apiserver")
            case "cut":
                self.clusters[name].heal()
        self.clusters[name].supervise()


def _name(pod: Json) -> str:
    return str(pod["metadata"]["name"])


@contextmanager
def bring_up(root: Path, seed: int) -> Iterator[World]:
    """Starts clusters, nodes and a provider that serves both members. Removes all of them at the end."""
    with ExitStack() as stack:
        stack.callback(localkube.down, root=root)
        made = localkube.up([PARENT, *MEMBERS], root=root)
        clusters = {name: Cluster(info, root) for name, info in made.items()}
        for cluster in clusters.values():
            stack.callback(cluster.close)
        links = {name: stack.enter_context(Link(clusters[name], seed=seed)) for name in clusters}
        parent = clusters[PARENT]
        kubeconfig = root / "provider.kubeconfig"
        token = {"token": admin_token(parent)}
        kubeconfig.write_text(json.dumps(links[PARENT].through(document(parent, None, token))))
        provider = Provider(kubeconfig, root / "provider.log")
        stack.callback(provider.stop)
        world = World(clusters, provider, links)
        stack.enter_context(_observers(world, seed))
        members.install(parent)
        for name in MEMBERS:
            members.grant(clusters[name])
            content = links[name].through(json.loads(members.kubeconfig(clusters[name])))
            members.join(parent, name, json.dumps(content), health=_FAST)
        provider.start()
        for name in MEMBERS:
            members.wait_until_served(parent, name, 60)
        for name in NAMESPACES:
            parent.create(NAMESPACE, {"metadata": {"name": name}})
        yield world
        world.heal()


@contextmanager
def _observers(world: World, seed: int) -> Iterator[None]:
    """Watches all pods and simulates the nodes of the members, in another thread."""
    started, stop = threading.Event(), asyncio.Event()
    loop: list[asyncio.AbstractEventLoop] = []
    failure: list[BaseException] = []

    async def observe() -> None:
        loop.append(asyncio.get_running_loop())
        apis = {name: Api(cluster) for name, cluster in world.clusters.items()}
        tasks = [
            asyncio.create_task(api.follow("/api/v1/pods", into(world.history, name))) for name, api in apis.items()
        ]
        tasks += [asyncio.create_task(Kubelet(name, apis[name], world.history, seed).run()) for name in MEMBERS]
        started.set()
        ending = asyncio.create_task(stop.wait())
        done, pending = await asyncio.wait([*tasks, ending], return_when=asyncio.FIRST_COMPLETED)
        failure.extend(error for task in done if (error := task.exception()))
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        for api in apis.values():
            await api.close()

    thread = threading.Thread(target=lambda: asyncio.run(observe()), name="observers")
    thread.start()
    started.wait()
    try:
        yield
    finally:
        loop[0].call_soon_threadsafe(stop.set)
        thread.join()
    if failure:
        raise failure[0]
