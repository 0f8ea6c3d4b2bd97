"""Events on the parent's NetworkPolicies: what of them has no effect in a member."""

from __future__ import annotations

from collections.abc import Sequence

from vk_provider.api import wellknown
from vk_provider.kube.objects import Pod
from vk_provider.kube.recorder import Recorder
from vk_provider.kube.resources import NETWORK_POLICIES
from vk_provider.sync.pod_caches import PodCaches
from vk_provider.translate.dependents.network_policies import NetworkPolicy, narrowed, not_enforced


class PolicyReports:
    """See the module's text. Remembers what was reported of each translation, so that it is reported once."""

    def __init__(self, nodes: Sequence[PodCaches], node: str, recorder: Recorder, *, permitted: bool) -> None:
        """`node` names the member. `permitted`: whether the provider may write policies in the member."""
        self._nodes, self._node, self._recorder, self._permitted = nodes, node, recorder, permitted
        self._narrowed: dict[str, str] = {}

    def narrowed(self, policy: NetworkPolicy, closed: set[str]) -> None:
        """Reports what the policy does not admit in the member."""
        message = narrowed(self._node, closed) if closed else ""
        if message and self._narrowed.get(policy.metadata.key) != message:
            self._event(policy, wellknown.POLICY_NARROWED, message)
        self._narrowed[policy.metadata.key] = message

    def forget(self, key: str) -> None:
        """The policy is not in the member."""
        self._narrowed.pop(key, None)

    def refused(self, policy: NetworkPolicy, message: str) -> None:
        """Reports a policy that the member does not accept."""
        self._event(policy, wellknown.MEMBER_REFUSED, message)

    def not_kept(self, policy: NetworkPolicy) -> None:
        """Reports a policy that is not kept in the member, if it selects a pod there."""
        for node in self._nodes:
            if node.parent.holds(policy.metadata.namespace) and any(
                policy.selects(pod.metadata) for pod in node.parent.items.values()
            ):
                self._not_enforced(policy, node.names.node)

    def not_kept_for(self, policy: NetworkPolicy, pod: Pod) -> None:
        """Reports a policy that is not kept in the member, if it selects this pod."""
        for node in self._nodes:
            if pod.metadata.key in node.parent.items and policy.selects(pod.metadata):
                self._not_enforced(policy, node.names.node)

    def _not_enforced(self, policy: NetworkPolicy, node: str) -> None:
        cause = (
            "spec.network.policies of its MemberCluster is Ignore"
            if self._permitted
            else "the provider may not write NetworkPolicies in the member (see condition Permissions)"
        )
        self._event(policy, wellknown.POLICY_NOT_ENFORCED, not_enforced(node, cause))

    def _event(self, policy: NetworkPolicy, reason: str, message: str) -> None:
        self._recorder.event(NETWORK_POLICIES, policy.metadata, "Warning", reason, message)
