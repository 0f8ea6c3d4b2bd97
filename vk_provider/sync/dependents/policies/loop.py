"""The parent's NetworkPolicies in the member, for the namespaces that hold pods of its virtual nodes.

Level-triggered by policy: a policy of the parent is in the member as long as its namespace is in use there. The first
pod of a namespace waits for all of them, and any other pod for those that have changed since: a policy that the member
does not accept keeps pods waiting, with its message. Any other policy of ours is deleted.

    pod -> `ensure`: the policies of its namespace are written -> in use -(no pod for a while)-> they are deleted

Owns which namespaces are in use for this purpose. With `spec.network.policies: Ignore`, or without the permissions, no
policy is in the member, and each one that selects a pod there gets an Event instead.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from vk_provider.api import wellknown
from vk_provider.api.membercluster import MemberCluster, NetworkPolicies
from vk_provider.errors import ForbiddenError, InvalidError, NotFoundError, NotMountedError
from vk_provider.kube.client import Client
from vk_provider.kube.objects import Pod
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.observable import Observable
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.sync.dependents.policies.labels import PolicyLabels
from vk_provider.sync.dependents.policies.member_policies import MemberPolicies
from vk_provider.sync.dependents.policies.reports import PolicyReports
from vk_provider.sync.dependents.protocols import Parent
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.dependents.network_policies import SYSTEM, NetworkPolicy, member_policy, namespace_keys
from vk_provider.translate.names import Names

_FIRST: Final = 5.0  # seconds that a pod waits for the parent's list, before it says so
_LINGER: Final = 20.0  # seconds that policies stay after the last pod of their namespace: the next one may be near
_REFUSALS: Final = 5  # in a row until they are reported: an API server that starts refuses what it will allow
_TERMINATING: Final = "being terminated"  # in the message of an API server about a namespace


class Item(NamedTuple):
    """Work: a policy of the parent by its key, a namespace that may have lost its last pod, or the keys in use."""

    kind: Literal["NetworkPolicy", "Namespace", "Keys"]
    key: str

    @property
    def namespace(self) -> str:
        return self.key.partition("/")[0]


_KEYS: Final = Item("Keys", "")


@dataclass
class _InUse:
    """A namespace in use: the keys of its policies, and those that the member may not have as they are."""

    policies: set[str]
    behind: set[str]


class NetworkPolicyLoop:
    """See the module's text."""

    def __init__(
        self,
        names: Names,
        parent: Parent,
        member: Client,
        caches: DependentCaches,
        cluster: Observable[MemberCluster],
        state: MemberState,
    ) -> None:
        self._names, self._nodes, self._cluster, self._state = names, caches.nodes, cluster, state
        self._namespaces, self._policies, self._ours = parent.namespaces, parent.policies, caches.policies
        self._permitted = caches.serves_policies
        self._written = MemberPolicies(member, names, caches.policies)
        self._reports = PolicyReports(caches.nodes, names.node, parent.recorder, permitted=self._permitted)
        self._labels = PolicyLabels(names, member, parent.namespaces, caches.namespaces)
        self._network = cluster.value.spec.network
        self._linger = 0.0 if cluster.value.metadata.deletion_timestamp else _LINGER
        self._in_use: dict[str, _InUse] = {}
        self._locks: dict[str, asyncio.Lock] = {}  # of namespaces: one task writes the policies of each at a time
        self.ready: set[str] = set()  # namespaces of the parent whose pods need not wait for, or report, any policy
        self.queue: WorkQueue[Item] = WorkQueue("network policies", self._reconcile, workers=8)

    @property
    def _applied(self) -> bool:
        """Whether policies are kept in the member."""
        return self._permitted and self._network.policies is NetworkPolicies.REFLECT

    async def run(self) -> None:
        """Works until cancelled. All informers must be synced, but for that of the parent's policies."""
        for node in self._nodes:
            for pod in node.member.items.values():
                self._use(self._names.parent_key(pod.metadata).partition("/")[0])
        self._cluster.subscribe(self._cluster_changed)
        self._cluster_changed()  # it may have changed since this loop was built
        self._state.on_resync(self._resync)
        with self._policies.subscribed(self._policy_changed):
            self._written.watch()
            self._ours.on_change(self._ours_changed)
            async with asyncio.TaskGroup() as group:
                group.create_task(self.queue.run())
                if self._permitted:
                    group.create_task(self._labels.run())

    async def ensure(self, pod: Pod) -> None:
        """Returns when the policies of a pod's namespace are in the member, or reports those that are not kept there.

        The member's namespace must exist. Raises NotMountedError while the parent's policies are not known, and as
        `OwnedObjects.write`.
        """
        namespace = pod.metadata.namespace
        used = self._use(namespace)
        if not self._applied:
            for key in used.policies:
                if policy := self._policies.items.get(key):
                    self._reports.not_kept_for(policy, pod)
        else:
            await self._known()
            async with self._lock(namespace):
                for key in sorted(used.behind):
                    await self._write(used, key)
            if self._in_use.get(namespace) is not used:  # abandoned meanwhile
                await self.ensure(pod)
        self._is_ready(namespace)

    def pod_gone(self, namespace: str) -> None:
        """A pod of a parent namespace no longer exists on either side."""
        self.queue.add_after(Item("Namespace", namespace), self._linger)

    async def _known(self) -> None:
        """Returns once the parent's policies are listed; raises NotMountedError if that takes long."""
        try:
            async with asyncio.timeout(_FIRST):
                await self._policies.synced.wait()
        except TimeoutError:
            cause = f": {self._policies.failure[1]}" if self._policies.failure else ""
            raise NotMountedError(
                f"the NetworkPolicies of the parent are not known yet, and pods must not run without them{cause}; "
                "let the provider list and watch networkpolicies in the parent, "
                "or set spec.network.policies of the MemberCluster to Ignore",
                reason=wellknown.POLICIES_NOT_KNOWN,
            ) from None

    def _lock(self, namespace: str) -> asyncio.Lock:
        return self._locks.setdefault(namespace, asyncio.Lock())

    def _is_ready(self, namespace: str) -> None:
        """Records a namespace that no pod has to wait for, if it is one."""
        if (used := self._in_use.get(namespace)) and not (used.behind if self._applied else used.policies):
            if self._policies.synced.is_set():
                self.ready.add(namespace)

    def _cluster_changed(self) -> None:
        if (network := self._cluster.value.spec.network) != self._network:
            self._network = network
            self._look_again()

    def _resync(self) -> None:
        if not self._state.unknown_reason:
            self._look_again()

    def _look_again(self) -> None:
        """Looks at every policy and namespace again, at once also at those that failed."""
        self.ready.clear()
        for used in self._in_use.values():
            used.behind |= used.policies
            for key in used.policies:
                self.queue.add(Item("NetworkPolicy", key))
        for key in self._written.keys():
            self.queue.add(Item("NetworkPolicy", key))
        self.queue.add(_KEYS)
        self._labels.look_again()

    def _use(self, namespace: str) -> _InUse:
        if (used := self._in_use.get(namespace)) is None:
            found = {key for key, each in self._policies.items.items() if each.metadata.namespace == namespace}
            used = self._in_use[namespace] = _InUse(found, set(found))
            for key in found:
                self.queue.add(Item("NetworkPolicy", key))
            self.queue.add(_KEYS)
            self.queue.add_after(Item("Namespace", namespace), self._linger)  # its pod may never be created
        return used

    def _abandon(self, namespace: str) -> None:
        """The namespace is not in use any more: the next pod brings everything again."""
        self.ready.discard(namespace)
        if self._in_use.pop(namespace, None):
            self.queue.add(_KEYS)

    def _policy_changed(self, before: NetworkPolicy | None, after: NetworkPolicy | None) -> None:
        found = after or before
        if found is None or (used := self._in_use.get(found.metadata.namespace)) is None:
            return
        (used.policies.add if after else used.policies.discard)(found.metadata.key)
        self._behind(found.metadata.key)
        self.queue.add(_KEYS)

    def _ours_changed(self, before: NetworkPolicy | None, after: NetworkPolicy | None) -> None:
        for found in filter(None, (before, after)):
            key = self._names.parent_key(found.metadata)
            if after is None:
                self._behind(key)  # with its namespace, perhaps, which the next pod brings again
            else:
                self.queue.add(Item("NetworkPolicy", key))

    def _behind(self, key: str) -> None:
        item = Item("NetworkPolicy", key)
        if used := self._in_use.get(item.namespace):
            used.behind.add(key)
            self.ready.discard(item.namespace)
        self.queue.add(item)

    async def _reconcile(self, item: Item) -> None:
        match item.kind:
            case "Namespace":
                self._leave_if_empty(item.key)
            case "Keys":
                self._select_keys()
            case "NetworkPolicy":
                await self._reconcile_policy(item)

    async def _reconcile_policy(self, item: Item) -> None:
        used = self._in_use.get(item.namespace)
        try:
            async with self._lock(item.namespace):
                await self._write(used, item.key)
        except (NotFoundError, ForbiddenError, InvalidError) as error:
            if isinstance(error, NotFoundError) or _TERMINATING in error.message:
                self._abandon(item.namespace)  # the member's namespace is deleted
                return
            if self.queue.failures(item) == _REFUSALS - 1 and (policy := self._policies.items.get(item.key)):
                self._reports.refused(policy, error.message)
            raise
        self._is_ready(item.namespace)

    def _select_keys(self) -> None:
        keys: set[str] = set()
        for used in self._in_use.values() if self._applied else ():
            for key in used.policies:
                if policy := self._policies.items.get(key):
                    keys |= namespace_keys(policy)
        self._labels.select(frozenset(keys))

    def _leave_if_empty(self, namespace: str) -> None:
        """If no pod is left in a namespace, deletes what was created for them."""
        mapped = self._names.namespace(namespace)
        for node in self._nodes:
            # A member that leaves gets no more pods, whatever is bound to its node.
            if node.member.holds(mapped) or (node.parent.holds(namespace) and not self._state.leaving):
                return
        self._abandon(namespace)
        for key in self._written.keys(namespace):
            self.queue.add(Item("NetworkPolicy", key))

    async def _write(self, used: _InUse | None, key: str) -> None:
        """Makes the policy in the member what it should be. Its namespace must be locked."""
        behind = used.behind if used else set()
        behind.discard(key)  # it may be changed meanwhile
        try:
            await self._sync(key)
        except BaseException:
            behind.add(key)
            raise

    async def _sync(self, key: str) -> None:
        policy = self._policies.items.get(key)
        if policy is None or not self._applied or key.partition("/")[0] not in self._in_use:
            await self._written.delete(key)
            self._reports.forget(key)
            if policy is not None and not self._applied:
                self._reports.not_kept(policy)
            return
        system = self._namespaces.items.get(SYSTEM)
        translation = member_policy(policy, self._names, system.metadata.labels if system else {})
        await self._written.put(key, translation.manifest)
        self._reports.narrowed(policy, translation.closed)
