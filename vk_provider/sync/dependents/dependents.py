"""What the pods of a member need there besides themselves. Once per member, for all of its virtual nodes.

    pod to be created --> namespace --> its NetworkPolicies --> its Services
                      --> copies, tokens, trust anchors, certificates --> Owner

A plain pod in a namespace that is in use costs four look-ups.
"""

from __future__ import annotations

import asyncio

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS, MemberCluster
from vk_provider.errors import NamespaceExcludedError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Pod
from vk_provider.observable import Observable
from vk_provider.sync.dependents.budgets import BudgetLoop
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.sync.dependents.certificates import CertificateLoop
from vk_provider.sync.dependents.copy_loop import LINGER, CopyLoop
from vk_provider.sync.dependents.namespaces import NamespaceLoop
from vk_provider.sync.dependents.policies.loop import NetworkPolicyLoop
from vk_provider.sync.dependents.protocols import Parent
from vk_provider.sync.dependents.services import ServiceLoop
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.pods.pod import Owner, Target
from vk_provider.translate.references import mentions_dependents


class Dependents:
    """See the module's text."""

    def __init__(
        self,
        target: Target,
        cluster: Observable[MemberCluster],
        parent: Parent,
        member: Client,
        caches: DependentCaches,
        state: MemberState,
        tasks: asyncio.TaskGroup,
    ) -> None:
        """`target` names what all virtual nodes share. `tasks` runs watches that begin when a pod needs them."""
        names, copies, nodes, recorder = target.names, caches.copies, caches.nodes, parent.recorder
        self._names, self._cluster, self._member_namespaces = names, cluster, caches.namespaces
        self._excluded = cluster.value.spec.namespaces.exclude
        cluster.subscribe(self._cluster_changed)

        def report_kept(message: str) -> None:
            recorder.event(MEMBER_CLUSTERS, cluster.value.metadata, "Warning", wellknown.NAMESPACE_KEPT, message)

        self._namespaces = NamespaceLoop(names, parent.client, member, parent.namespaces, caches, report_kept)
        services = ServiceLoop(names, parent.services, caches.reflections, nodes, cluster, state, recorder)
        self._services = services if caches.serves_services else None
        linger = 0.0 if cluster.value.metadata.deletion_timestamp else LINGER
        self._copies = CopyLoop(
            target, nodes, parent.client, copies, state, parent.object_watches, tasks, linger=linger
        )
        self._policies = NetworkPolicyLoop(names, parent, member, caches, cluster, state)
        self._budgets = BudgetLoop(names, parent, member, caches, state) if caches.serves_budgets else None
        self._certificates = CertificateLoop(names, nodes, parent.client, copies, state, recorder, tasks)

    async def run(self) -> None:
        """Works until cancelled. All informers must be synced and every living pod adopted."""
        async with asyncio.TaskGroup() as group:
            copies = (self._copies, self._certificates)
            for loop in (self._namespaces, self._services, *copies, self._policies, self._budgets):
                if loop is not None:
                    group.create_task(loop.run())

    def adopt(self, pod: Pod) -> None:
        """Registers what a pod that exists already needs, so that none of it counts as unused."""
        if mentions_dependents(pod):
            self._copies.adopt(pod)
            self._certificates.add(pod)

    def _cluster_changed(self) -> None:
        self._excluded = self._cluster.value.spec.namespaces.exclude

    async def prepare(self, pod: Pod) -> Owner:
        """Returns when everything that the pod needs and that exists is in the member: the owner of its member pod.

        Raises NamespaceExcludedError if the namespace is not used in the member, NameTakenError if something in the
        member is in the way, NotMountedError if the service account does not exist or the parent's NetworkPolicies are
        not known, and the errors of the API servers.
        """
        namespace = pod.metadata.namespace
        if namespace in self._excluded:
            raise NamespaceExcludedError(
                f"namespace {namespace} is not used in member {self._cluster.value.metadata.name} "
                "(spec.namespaces.exclude of the MemberCluster)",
                remedy="keep the pod off virtual nodes by affinity, or change the list",
            )
        name = self._names.namespace(namespace)
        found = self._member_namespaces.items.get(name)
        owner = Owner(name, found.metadata.uid if found else await self._namespaces.ensure(namespace))
        if namespace not in self._policies.ready:
            await self._policies.ensure(pod)
        if self._services is not None and namespace not in self._services.ready:
            await self._services.ensure(namespace)
        await self.ensure(pod)
        return owner

    async def ensure(self, pod: Pod) -> None:
        """Brings what the pod names up to date. Raises as `prepare`."""
        if mentions_dependents(pod):
            self._certificates.add(pod)
            await self._copies.ensure(pod)

    async def delete_namespaces(self) -> None:
        """Before the member leaves, when it holds no other object of ours. See NamespaceLoop."""
        await self._namespaces.delete_unused()

    def release(self, pod_uid: str) -> None:
        """The pod needs nothing any more: what no other pod uses is deleted."""
        self._copies.release(pod_uid)
        self._certificates.release(pod_uid)

    def pod_gone(self, namespace: str) -> None:
        """Neither the parent pod nor its member pod exists any more; `namespace` is the parent's."""
        self._policies.pod_gone(namespace)
        if self._services is not None:
            self._services.pod_gone(namespace)
