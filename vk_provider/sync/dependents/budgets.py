"""PodDisruptionBudgets of the parent in a member, so that the eviction API there honours them. Once per member.

Owns the budgets of ours in the member. Keys of its queue are those of the parent's budgets; one worker writes. A budget
is written only when it changes. While the member does not answer, or the parent's list is not known, nothing is
written: what is there stays, and allows no more than before. Pods are watched from the first budget on. Ends when it
is cancelled; other members may then use its parts.
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Final

from vk_provider.api import wellknown
from vk_provider.errors import NameTakenError
from vk_provider.kube.client import Client, PatchType
from vk_provider.kube.informer import Handler
from vk_provider.kube.objects import Object, Pod, fields
from vk_provider.kube.resources import POD_DISRUPTION_BUDGETS
from vk_provider.kube.workqueue import WorkQueue
from vk_provider.sync.dependents.caches import DependentCaches
from vk_provider.sync.dependents.owned import OwnedObjects
from vk_provider.sync.dependents.protocols import Parent
from vk_provider.sync.state.state import MemberState
from vk_provider.translate.dependents.budgets import Budget, Claim, alive, counts_as_healthy, member_budget, node_of
from vk_provider.translate.names import Names
from vk_provider.translate.nodes.member_nodes import MemberNode

_GATHER: Final = 0.2  # seconds in which changes of pods cause one look
_SETTLES: Final = 5.0  # seconds in which the parent's disruption controller has counted a pod that is not Ready
_TAKEN: Final = 300.0  # seconds until a name that another client uses is tried again


class BudgetLoop:
    """See the module's text."""

    def __init__(
        self, names: Names, parent: Parent, member: Client, caches: DependentCaches, state: MemberState
    ) -> None:
        self._names, self._parent, self._caches, self._state = names, parent, caches, state
        self._ours, self._shares = caches.budgets, parent.budget_shares
        self._owned = OwnedObjects(member, names, POD_DISRUPTION_BUDGETS, Object, caches.budgets)
        self._nodes = [node.names.node for node in caches.nodes]
        self._in: dict[str, set[str]] = {}  # namespaces of the parent that have budgets, with their keys
        self._unseen: dict[str, tuple[str, int, float]] = {}  # version of the budget, count, loop time of its end
        self._pods_watched = False
        self.queue: WorkQueue[str] = WorkQueue("budgets", self._reconcile, workers=1)

    async def run(self) -> None:
        """Works until cancelled. The caches of the member must be synced."""
        self._state.on_resync(self._look_again)
        self._ours.on_change(self._our_budget_changed)
        with ExitStack() as stack:
            stack.callback(self._shares.forget, self._names.node)
            stack.enter_context(self._shares.subscribed(self._share_changed))
            stack.enter_context(self._parent.budgets.subscribed(self._budget_changed))
            self._caches.member_nodes.on_change(self._node_changed)
            await self.queue.run()

    def _budget_changed(self, before: Budget | None, after: Budget | None) -> None:
        if (found := after or before) is None:
            return
        keys = self._in.setdefault(found.metadata.namespace, set())
        if after is not None:
            keys.add(found.metadata.key)
        else:
            keys.discard(found.metadata.key)
        if not self._pods_watched:
            self._pods_watched = True
            for node in self._caches.nodes:
                node.parent.on_change(self._pod_changed(of_member=False))
                node.member.on_change(self._pod_changed(of_member=True))
        self.queue.add(found.metadata.key)

    def _pod_changed(self, *, of_member: bool) -> Handler[Pod]:
        def changed(before: Pod | None, after: Pod | None) -> None:
            if found := after or before:
                key = self._names.parent_key(found.metadata) if of_member else found.metadata.key
                for budget in self._in.get(key.partition("/")[0], ()):
                    self.queue.add_after(budget, _GATHER)

        return changed

    def _our_budget_changed(self, before: Object | None, after: Object | None) -> None:
        if found := after or before:
            self.queue.add(self._names.parent_key(found.metadata))

    def _node_changed(self, before: MemberNode | None, after: MemberNode | None) -> None:
        if before is None or after is None or before.cordoned != after.cordoned:
            self._look_again()

    def _share_changed(self, key: str) -> None:
        if key.partition("/")[0] in self._in:
            self.queue.add_after(key, 0.0)

    def _look_again(self) -> None:
        for keys in self._in.values():
            for key in keys:
                self.queue.add_after(key, _GATHER)
        for budget in self._ours.items.values():
            self.queue.add_after(self._names.parent_key(budget.metadata), _GATHER)

    async def _reconcile(self, key: str) -> float | None:
        if self._state.unknown_reason:
            return None  # looked at again when it is known
        budget = self._parent.budgets.items.get(key)
        there = self._names.namespace(key.partition("/")[0])
        if budget is None and not self._parent.budgets.synced.is_set() and self._caches.in_use(there):
            return _SETTLES
        claim = self._claim(budget) if budget is not None else None
        if budget is None or claim is None:
            await self._remove(key)
            return None
        self._shares.claim(key, self._names.node, claim)
        part = self._shares.part(key, self._names.node, budget.allowed)
        if part > self._shares.granted(key, self._names.node):
            self._shares.grant(key, self._names.node, part)
        try:
            await self._write(budget, claim.living - part)
        except NameTakenError as error:
            recorder, about = self._parent.recorder, budget.metadata
            recorder.event(POD_DISRUPTION_BUDGETS, about, "Warning", wellknown.NAME_CONFLICT, error.message)
            return _TAKEN
        self._shares.grant(key, self._names.node, part)
        return _SETTLES if claim.unseen else None

    async def _write(self, budget: Budget, minimum: int) -> None:
        manifest = member_budget(budget, self._names, self._nodes, minimum)
        existing = self._ours.items.get(self._names.member_key(budget.metadata.key))
        if existing is None:
            await self._owned.write(manifest, None, None)
        elif fields(existing.spec) != manifest["spec"]:
            patch = [
                {"op": "test", "path": "/metadata/uid", "value": existing.metadata.uid},
                {"op": "add", "path": "/metadata/annotations", "value": manifest["metadata"]["annotations"]},
                {"op": "add", "path": "/spec", "value": manifest["spec"]},
            ]
            await self._owned.write(manifest, existing.metadata, patch, PatchType.JSON)

    async def _remove(self, key: str) -> None:
        if existing := self._ours.items.get(self._names.member_key(key)):
            await self._owned.delete(existing.metadata)
        self._unseen.pop(key, None)
        self._shares.release(key, self._names.node)

    def _claim(self, budget: Budget) -> Claim | None:
        """What our pods there mean for the budget; None if it covers none of them."""
        namespace, there = budget.metadata.namespace, self._names.namespace(budget.metadata.namespace)
        covered, living, unseen, places = False, 0, 0, set[str]()
        for node in self._caches.nodes:
            for pod in node.member.items.values() if node.member.holds(there) else ():
                if pod.metadata.namespace == there and budget.selects(pod.metadata.labels):
                    covered = True
                    if alive(pod):
                        living += 1
                        places.add(node_of(pod))
            for pod in node.parent.items.values() if node.parent.holds(namespace) else ():
                if pod.metadata.namespace == namespace and budget.selects(pod.metadata.labels):
                    covered = True
                    member = node.member.items.get(self._names.member_key(pod.metadata.key))
                    unseen += counts_as_healthy(pod) and (member is None or not alive(member))
        nodes = self._caches.member_nodes.items
        draining = any((found := nodes.get(place)) is not None and found.cordoned for place in places)
        return Claim(living, self._still_unseen(budget, unseen), draining) if covered else None

    def _still_unseen(self, budget: Budget, unseen: int) -> int:
        """Pods that are no longer Ready in the parent count until the parent's budget has changed, or time is up."""
        key, version, now = budget.metadata.key, budget.metadata.resource_version, asyncio.get_running_loop().time()
        before, count, until = self._unseen.get(key, ("", 0, 0.0))
        if before == version and count > unseen and now < until:
            return count
        self._unseen[key] = version, unseen, now + _SETTLES
        return unseen
