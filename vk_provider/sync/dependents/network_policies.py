"""Reports NetworkPolicies of the parent that select pods of virtual nodes: no member enforces them.

One Event on the policy for each virtual node, when the policy appears or changes, and when it selects a new pod.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vk_provider.api import wellknown
from vk_provider.kube.informer import Informer
from vk_provider.kube.objects import Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NETWORK_POLICIES
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.dependents.network_policies import NetworkPolicy, not_enforced


class NetworkPolicyReports:
    """See the module's text. `policies` are shared by all members; `nodes` has the pods of each virtual node."""

    def __init__(self, policies: Informer[NetworkPolicy], nodes: Sequence[PodCaches], recorder: Recorder) -> None:
        self._policies, self._nodes, self._recorder = policies, nodes, recorder
        self.namespaces: dict[str, set[str]] = {}  # namespaces of the parent that have policies, with their keys

    async def run(self) -> None:
        """Reports until cancelled. The caches of pods must be synced."""
        with self._policies.subscribed(self._changed):
            await asyncio.Event().wait()

    def check(self, pod: Pod) -> None:
        """Reports the policies that select a pod of a virtual node."""
        for key in self.namespaces.get(pod.metadata.namespace, ()):
            policy = self._policies.items.get(key)
            if policy is not None and policy.selects(pod.metadata):
                for node in self._nodes:
                    if pod.metadata.key in node.parent.items:
                        self._report(policy, node.names.node)

    def _changed(self, before: NetworkPolicy | None, after: NetworkPolicy | None) -> None:
        if after is not None:
            self.namespaces.setdefault(after.metadata.namespace, set()).add(after.metadata.key)
            for node in self._nodes:
                if any(after.selects(pod.metadata) for pod in node.parent.items.values()):
                    self._report(after, node.names.node)
        elif before is not None and (keys := self.namespaces.get(before.metadata.namespace)):
            keys.discard(before.metadata.key)
            if not keys:
                del self.namespaces[before.metadata.namespace]

    def _report(self, policy: NetworkPolicy, node: str) -> None:
        self._recorder.event(
            NETWORK_POLICIES, policy.metadata, "Warning", wellknown.POLICY_NOT_ENFORCED, not_enforced(node)
        )
