"""What the provider must be allowed to do in a member: the table of permissions, and what a credential grants of it.

A member that lacks a permission of an essential feature cannot be served. A permission that another feature needs costs
that feature only. `manifests/member/rbac.yaml` grants all of them, and the optional role for metrics of nodes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from vk_provider.api import wellknown

GRANT: Final = "as an administrator of the member: kubectl apply -f manifests/member/rbac.yaml"


class Feature(StrEnum):
    """What needs a permission, as messages to users name it."""

    PODS = "pods"
    DEPENDENTS = "ConfigMaps, Secrets and tokens of pods"
    NODE = "the virtual node"
    CLEANUP = "removal of empty namespaces"
    LOGS = "kubectl logs"
    EXEC = "kubectl exec and cp"
    ATTACH = "kubectl attach"
    PORT_FORWARD = "kubectl port-forward"
    DEBUG = "kubectl debug (ephemeral containers)"
    RESIZE = "resize of running pods"
    SERVICES = "Services in the member"
    BUDGETS = "PodDisruptionBudgets in the member"
    NETWORK_POLICIES = "NetworkPolicies in the member"
    EVENTS = "Events of the member about pods"
    LEASES = "signs of life while the API server is too busy for probes"


ESSENTIAL: Final = frozenset({Feature.PODS, Feature.DEPENDENTS, Feature.NODE})
"""Without these, no pod can run."""


class Right(NamedTuple):
    """One permission. A resource may contain its subresource, as in `pods/log`."""

    group: str
    resource: str
    verb: str

    @property
    def qualified(self) -> str:
        """The resource as RBAC and kubectl write it."""
        return f"{self.resource}.{self.group}" if self.group else self.resource


@dataclass(frozen=True)
class Permission:
    """A row of the table: what one feature needs of one resource."""

    feature: Feature
    group: str
    resource: str
    verbs: tuple[str, ...]

    @property
    def rights(self) -> list[Right]:
        """One for each verb."""
        return [Right(self.group, self.resource, verb) for verb in self.verbs]


_ALL: Final = ("get", "list", "watch", "create", "patch", "delete")

PERMISSIONS: Final = (
    Permission(Feature.PODS, "", "pods", _ALL),
    Permission(Feature.PODS, "", "namespaces", ("get", "list", "watch", "create")),
    Permission(Feature.DEPENDENTS, "", "configmaps", _ALL),
    Permission(Feature.DEPENDENTS, "", "secrets", _ALL),
    Permission(Feature.NODE, "", "nodes", ("list", "watch")),
    Permission(Feature.CLEANUP, "", "namespaces", ("delete",)),
    Permission(Feature.CLEANUP, "", "persistentvolumeclaims", ("list",)),
    Permission(Feature.LOGS, "", "pods/log", ("get",)),
    Permission(Feature.EXEC, "", "pods/exec", ("get", "create")),
    Permission(Feature.ATTACH, "", "pods/attach", ("get", "create")),
    Permission(Feature.PORT_FORWARD, "", "pods/portforward", ("get", "create")),
    Permission(Feature.DEBUG, "", "pods/ephemeralcontainers", ("patch",)),
    Permission(Feature.RESIZE, "", "pods/resize", ("patch",)),
    Permission(Feature.SERVICES, "", "services", _ALL),
    Permission(Feature.SERVICES, "discovery.k8s.io", "endpointslices", _ALL),
    Permission(Feature.BUDGETS, "policy", "poddisruptionbudgets", _ALL),
    Permission(Feature.NETWORK_POLICIES, "networking.k8s.io", "networkpolicies", _ALL),
    Permission(Feature.NETWORK_POLICIES, "", "namespaces", ("patch",)),
    Permission(Feature.EVENTS, "", "events", ("list", "watch")),
    Permission(Feature.LEASES, "coordination.k8s.io", "leases", ("list", "watch")),
)


@dataclass(frozen=True)
class Rights:
    """What a credential may do in a member, as far as the provider needs it.

    `missing` are the permissions that are not granted, in the order of the table. `unserved` are resources that the
    API server does not have, because its version is older (`pods/resize` before 1.33): no permission helps there.
    """

    missing: tuple[Right, ...] = ()
    unserved: frozenset[str] = frozenset()

    def allows(self, group: str, resource: str, verb: str) -> bool:
        """Whether a request can succeed. Permissions that are not in the table are not checked: True."""
        return resource not in self.unserved and Right(group, resource, verb) not in self.missing

    def has(self, feature: Feature) -> bool:
        """Whether everything that the feature needs is granted and served."""
        needed = [right for row in PERMISSIONS if row.feature is feature for right in row.rights]
        return all(self.allows(*right) for right in needed)

    @property
    def missing_essential(self) -> bool:
        """Whether the member cannot be served."""
        return any(row.feature in ESSENTIAL and self._lacks(row) for row in PERMISSIONS)

    @property
    def condition(self) -> tuple[str, str, str]:
        """The condition `Permissions` of a MemberCluster: status, reason, message."""
        if not self.missing:
            return "True", wellknown.RIGHTS_GRANTED, "the credential has every permission"
        return "False", wellknown.RIGHTS_MISSING, self.explanation

    @property
    def explanation(self) -> str:
        """Which features are off, what each of them lacks, and the remedy. Empty if nothing is missing."""
        if not self.missing:
            return ""
        lost = dict.fromkeys(row.feature for row in PERMISSIONS if self._lacks(row))
        parts = [f"{feature.value} (needs {listed(self._missing_of(feature))})" for feature in lost]
        return f"not available: {'; '.join(parts)}; {GRANT}"

    def _missing_of(self, feature: Feature) -> list[Right]:
        needed = [right for row in PERMISSIONS if row.feature is feature for right in row.rights]
        return [right for right in needed if right in self.missing]

    def _lacks(self, row: Permission) -> bool:
        return any(right in self.missing for right in row.rights)


ALL_RIGHTS: Final = Rights()


def listed(rights: Iterable[Right]) -> str:
    """Rights as one line, gathered by resource: `list/watch events, patch pods/resize`."""
    verbs: dict[str, list[str]] = {}
    for right in rights:
        verbs.setdefault(right.qualified, []).append(right.verb)
    return ", ".join(f"{'/'.join(each)} {resource}" for resource, each in verbs.items())
