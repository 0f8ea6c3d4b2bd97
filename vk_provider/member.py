"""One member wired end to end: connects, builds its loops, and runs them as one TaskGroup.

    read the kubeconfig -> examine the member -> caches complete -> register the virtual node -> loops
                                                                          (leaving: drain, then the loops end)

`run` returns when the membership has ended, and raises otherwise; whoever supervises decides when to try again. One
broken member never disturbs another: nothing here is shared but the parent's client and its namespaces.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import gc
import logging
from dataclasses import dataclass
from typing import Any, Final

from vk_provider.api import words
from vk_provider.api.membercluster import MemberCluster
from vk_provider.config import Settings
from vk_provider.errors import ConfigError, NotFoundError, UnreachableError
from vk_provider.kube.auth import Kubeconfig
from vk_provider.kube.client import Client
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Named, Node, Payload, Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NAMESPACES, NODES, PODS, SECRETS
from vk_provider.kubelet.backend import Backend
from vk_provider.kubelet.metrics import MemberMetrics
from vk_provider.kubelet.server import KubeletServer
from vk_provider.sync import leave
from vk_provider.sync.access import Facts, examine
from vk_provider.sync.certificates import CertificateLoop
from vk_provider.sync.dependents import DependentLoop, copies
from vk_provider.sync.events import EventLoop, member_events
from vk_provider.sync.health import HealthLoop, State
from vk_provider.sync.namespaces import NamespaceLoop
from vk_provider.sync.node import NodeLoop
from vk_provider.sync.pods import PodLoop
from vk_provider.sync.report import Report
from vk_provider.sync.status import StatusWriter
from vk_provider.translate.dependents import Copy, Kind
from vk_provider.translate.names import Names
from vk_provider.translate.node import MemberNode, Usage, member_node, usage
from vk_provider.translate.pod import Target

log = logging.getLogger(__name__)

_FIRST_LISTS: Final = 120.0  # seconds for all caches to be complete


@dataclass(frozen=True)
class Parent:
    """What all members share.

    `host` and `port` are those of its API server as pods in members reach it; `kubelet_address` is the address of this
    process that the API server can reach.
    """

    client: Client
    uid: str
    host: str
    port: str
    kubelet_address: str
    namespaces: Informer[Named]
    recorder: Recorder


class KubeconfigChangedError(Exception):
    """The Secret holds another kubeconfig now: connect anew."""


class Member:
    """See the module's text. Built anew for each attempt."""

    def __init__(self, cluster: MemberCluster, parent: Parent, settings: Settings, report: Report) -> None:
        self._cluster, self._parent, self._settings, self._report = cluster, parent, settings, report
        self._names = Names(cluster.node_name, parent.uid, cluster.spec.namespace_mapping.prefix)
        self._target = Target(self._names, cluster.spec.api_access, parent.host, parent.port)
        self._kubeconfig = ""  # as the Secret holds it, base64

    async def connect(self) -> tuple[Client, Facts]:
        """The client of the member, and whom it reached; the caller closes the client.

        Raises ConfigError or UnreachableError with the cause in words.
        """
        reference = self._cluster.spec.kubeconfig_secret_ref
        source = f"secret {reference.namespace}/{reference.name}"
        try:
            secret = await self._parent.client.get(SECRETS, reference.name, reference.namespace, type=Payload)
            self._kubeconfig = secret.data[reference.key]
            content = base64.b64decode(self._kubeconfig)
        except NotFoundError as error:
            raise ConfigError(f"{source} does not exist", reason="SecretNotFound") from error
        except KeyError as error:
            raise ConfigError(f"{source} has no key {reference.key}", reason="SecretNotFound") from error
        except binascii.Error as error:
            raise ConfigError(f"{source}: key {reference.key} is not base64", reason="KubeconfigInvalid") from error
        client = Client(Kubeconfig.from_secret(content, source).credentials())
        try:
            return client, await examine(client)
        except BaseException:
            await client.close()
            raise

    async def run(self, member: Client, facts: Facts) -> None:
        """Serves the member until the membership has ended (returns) or something breaks (raises)."""
        caches = _Caches.of(self._parent.client, member, self._names)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(informer.run()) for informer in caches.all()]
            await caches.synced(member)
            tasks += [group.create_task(loop) for loop in await self._loops(member, facts, caches)]
            # What is cached now lives long; the collector need not walk it again and again.
            gc.collect()
            gc.freeze()
            if self._cluster.metadata.deletion_timestamp is None:
                await self._say_serving()
                return
            await self._leave(caches)
            for task in tasks:
                task.cancel()

    async def _loops(self, member: Client, facts: Facts, caches: _Caches) -> list[Any]:
        """Registers the virtual node and gives everything that has to run for it."""
        parent, names = self._parent.client, self._names

        async def changed() -> None:
            node.changed()
            if health.health.state is State.HEALTHY:
                pods.resync()
            await self._say_serving()

        health = HealthLoop(member, every=self._settings.probe_seconds, changed=changed)
        self._health = health.health
        address = self._parent.kubelet_address
        node = NodeLoop(
            self._cluster, facts.version, parent, caches.nodes, caches.others, ready=self._ready, address=address
        )
        dependents = DependentLoop(self._target, parent, member, caches.copies)
        for pod in caches.parent_pods.items.values():
            dependents.adopt(pod)
        namespaces = NamespaceLoop(
            names, parent, member, self._parent.namespaces, caches.namespaces, in_use=caches.in_use
        )
        pods = PodLoop(
            self._target,
            parent,
            member,
            caches.parent_pods,
            caches.member_pods,
            dependents=dependents,
            namespaces=namespaces,
            statuses=StatusWriter(parent, caches.parent_pods),
            recorder=self._parent.recorder,
            workers=self._settings.workers,
        )
        certificates = CertificateLoop(
            names, parent, member, caches.parent_pods, caches.copies["Secret"], self._parent.recorder
        )
        events = EventLoop(names, caches.parent_pods, caches.member_pods, member_events(member), self._parent.recorder)
        backend = Backend(
            names,
            member,
            lambda: caches.parent_pods.items,
            lambda: caches.member_pods.items,
            unreachable=lambda: str(self._health.error) if self._health.state is State.LOST else None,
        )
        metrics = MemberMetrics(member, names, lambda: list(caches.nodes.items), caches.member_pods)
        kubelet = KubeletServer(parent, backend, metrics, address, published=node.serve_kubelet)
        await node.register()
        return [
            kubelet.run(),
            health.run(),
            node.run(),
            dependents.run(),
            namespaces.run(),
            pods.run(),
            certificates.run(),
            events.run(),
            self._watch_secret(),
        ]

    def _ready(self) -> tuple[bool, str, str]:
        """The Ready condition of the virtual node."""
        if self._health.state is State.LOST:
            return False, "MemberUnreachable", f"the member does not answer: {self._health.error}"
        return True, "MemberReady", "the member answers"

    async def _say_serving(self) -> None:
        """The Ready condition of the MemberCluster, while it is served."""
        if self._health.state is State.HEALTHY:
            await self._report.say(True, "Serving", f"virtual node {self._names.node} is served")
        elif self._health.state is State.LOST and (error := self._health.error):
            await self._report.say(False, error.reason, str(error))

    async def _watch_secret(self) -> None:
        """Ends the run when the kubeconfig is another one."""
        reference = self._cluster.spec.kubeconfig_secret_ref
        changed = asyncio.Event()

        def look(_before: Payload | None, after: Payload | None) -> None:
            if after is not None and after.data.get(reference.key) != self._kubeconfig:
                changed.set()

        informer: Informer[Payload] = Informer(
            self._parent.client,
            SECRETS,
            Payload,
            namespace=reference.namespace,
            fields=f"metadata.name={reference.name}",
        )
        informer.on_change(look)
        async with asyncio.TaskGroup() as group:
            group.create_task(informer.run())
            await changed.wait()
            raise KubeconfigChangedError

    async def _leave(self, caches: _Caches) -> None:
        async def say(message: str) -> None:
            if self._health.state is State.LOST:
                raise UnreachableError(f"the member does not answer: {self._health.error}")
            await self._report.say(False, "Leaving", message)

        await leave.drain(self._parent.client, self._cluster, caches.parent_pods, caches.count_in_member, say)


@dataclass(frozen=True)
class _Caches:
    """Everything of both sides that a member's loops look at."""

    parent_pods: Informer[Pod]
    member_pods: Informer[Pod]
    others: Informer[Usage]
    nodes: Informer[MemberNode]
    namespaces: Informer[Named]
    copies: dict[Kind, Informer[Copy]]

    @classmethod
    def of(cls, parent: Client, member: Client, names: Names) -> _Caches:
        return cls(
            parent_pods=Informer(parent, PODS, Pod, fields=f"spec.nodeName={names.node}"),
            member_pods=Informer(member, PODS, Pod, labels=names.selector),
            others=Informer(
                member,
                PODS,
                Pod,
                labels=f"{words.PARENT_LABEL}!={names.parent}",
                fields="status.phase!=Succeeded,status.phase!=Failed",
                keep=usage,
            ),
            nodes=Informer(member, NODES, Node, keep=member_node),
            namespaces=Informer(member, NAMESPACES, Named, labels=names.selector),
            copies=copies(member, names.selector),
        )

    async def synced(self, member: Client) -> None:
        """Returns when all of them are complete. Raises UnreachableError where that takes too long."""
        try:
            async with asyncio.timeout(_FIRST_LISTS):
                for informer in self.all():
                    await informer.synced.wait()
        except TimeoutError as error:
            missing = ", ".join(repr(informer) for informer in self.all() if not informer.synced.is_set())
            raise UnreachableError(f"{member.server}: not listed in {_FIRST_LISTS:.0f} s: {missing}") from error

    def all(self) -> list[Informer[Any]]:
        return [
            self.parent_pods,
            self.member_pods,
            self.others,
            self.nodes,
            self.namespaces,
            *self.copies.values(),
        ]

    def in_use(self, namespace: str) -> bool:
        """Whether a namespace of the member holds pods, of anybody, or copies of ours."""
        held: list[Informer[Any]] = [self.member_pods, self.others, *self.copies.values()]
        return any(item.metadata.namespace == namespace for informer in held for item in informer.items.values())

    def count_in_member(self) -> int:
        """How many pods and copies of ours are in the member."""
        return len(self.member_pods.items) + sum(len(informer.items) for informer in self.copies.values())
