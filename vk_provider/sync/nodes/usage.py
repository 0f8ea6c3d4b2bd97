"""What is used of each node of a member by pods that the parent's scheduler does not count.

Those of others, those of an earlier name of the virtual node, and what the member's admission has added to ours. Owns
what each pod uses. The sum for a node is computed from scratch after a change of one of its pods: adding and
subtracting would keep an error for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from functools import partial

from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod, pod_phase
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.nodes.requests import Resources, Usage, total, unknown_to_parent


class UsedByOthers:
    """Follows the lists of pods. Used from one event loop."""

    def __init__(
        self, others: Iterable[Informer[Usage]], pods: PodCaches, on_change: Callable[[], None] = lambda: None
    ) -> None:
        """`others`: pods that are not ours. `pods`: ours. `on_change` is called when the use of a node may differ."""
        self._pods, self._on_change = pods, on_change
        self._used: dict[str, tuple[str, Resources]] = {}  # pod -> node, requests
        self._of_node: dict[str, set[str]] = {}  # node -> its pods
        self._sums: dict[str, Resources] = {}
        for number, informer in enumerate(others):
            informer.on_change(partial(self._other, f"{number}:"))  # each list has keys of its own
        pods.member.on_change(self._ours)
        pods.parent.on_change(self._parent)

    def by_node(self) -> Mapping[str, Resources]:
        """What is used of each node, by its name."""
        for node in self._of_node.keys() - self._sums.keys():
            self._sums[node] = total(self._used[key][1] for key in self._of_node[node])
        return self._sums

    def _other(self, list: str, before: Usage | None, after: Usage | None) -> None:
        if before and after and (before.node, before.requests) == (after.node, after.requests):
            return
        if found := after or before:
            self._set(list + found.metadata.key, after.node if after else "", after.requests if after else {})

    def _ours(self, before: Pod | None, after: Pod | None) -> None:
        pod = after or before
        if pod is None:
            return
        key = pod.metadata.key
        if before and after and before.metadata.uid == after.metadata.uid and before.spec == after.spec:
            # The status alone has changed: it matters once the pod has ended.
            if key in self._used and pod_phase(after).ended:
                self._set(key, "", {})
            return
        self._count(key, after)

    def _parent(self, before: Pod | None, after: Pod | None) -> None:
        if before and after and before.metadata.uid == after.metadata.uid and before.spec == after.spec:
            return
        if pod := after or before:
            key = self._pods.names.member_key(pod.metadata.key)
            self._count(key, self._pods.member.items.get(key))

    def _count(self, key: str, member: Pod | None) -> None:
        if member is None:
            self._set(key, "", {})
        else:
            parent = self._pods.parent.items.get(self._pods.names.parent_key(member.metadata))
            self._set(key, *unknown_to_parent(member, parent))

    def _set(self, key: str, node: str, requests: Mapping[str, Fraction]) -> None:
        before = self._used.pop(key, None)
        if before is not None:
            pods = self._of_node[before[0]]
            pods.discard(key)
            self._sums.pop(before[0], None)
            if not pods:
                del self._of_node[before[0]]
        if node and requests:
            self._used[key] = node, requests
            self._of_node.setdefault(node, set()).add(key)
            self._sums.pop(node, None)
        if before is not None or key in self._used:
            self._on_change()
