"""MemberCluster: a cluster that runs the containers of the pods bound to its virtual node.

The schema with its validation and defaults is manifests/crds/memberclusters.yaml; these structs are what this program
reads of it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from vk_provider.api import wellknown
from vk_provider.errors import ConfigError
from vk_provider.kube.objects import Condition, Metadata, Object
from vk_provider.kube.resources import Resource

MEMBER_CLUSTERS = Resource("vk-provider.io", "v1alpha1", "memberclusters", "MemberCluster", namespaced=False)


EXCLUDED_NAMESPACES: Final = frozenset({"kube-system", "kube-public", "kube-node-lease", wellknown.SYSTEM_NAMESPACE})
"""Namespaces of the parent that are not used in members, unless a MemberCluster has another list."""


class ApiAccess(StrEnum):
    """Which API server a pod that uses its service account talks to."""

    PARENT = "Parent"
    MEMBER = "Member"
    NONE = "None"


class CapacityPolicy(StrEnum):
    """What `spec.capacity` is: an upper limit, or what a member that scales itself will grow to."""

    LIMIT = "Limit"
    PROMISE = "Promise"


class NetworkPolicies(StrEnum):
    """Whether NetworkPolicies of the parent are kept in the member, for the pods there."""

    REFLECT = "Reflect"
    IGNORE = "Ignore"


class AddTo(StrEnum):
    """The member pods that get a toleration: those that request an extended resource of such nodes only, or all."""

    EXTENDED_RESOURCES = "ExtendedResources"
    ALL = "All"


class SecretRef(msgspec.Struct, frozen=True):
    """A key of a Secret of the parent."""

    name: str
    namespace: str
    key: str = "kubeconfig"


class Taint(msgspec.Struct, frozen=True, omit_defaults=True):
    """As in a Node's spec."""

    key: str
    effect: str
    value: str = ""


class Toleration(msgspec.Struct, rename="camel", frozen=True, omit_defaults=True):
    """Nodes of the member with a taint that it tolerates count. As in a pod's spec, and the pods that get it."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    add_to: AddTo = AddTo.EXTENDED_RESOURCES

    @property
    def of_pod(self) -> dict[str, str]:
        """The entry in a pod's spec."""
        found = {"key": self.key, "operator": self.operator, "value": self.value, "effect": self.effect}
        return {name: value for name, value in found.items() if value}


class NamespaceMapping(msgspec.Struct, frozen=True):
    """Names of the parent's namespaces in the member."""

    prefix: str = ""


class Namespaces(msgspec.Struct, frozen=True):
    """Which namespaces of the parent are used in the member: all but those that `exclude` names."""

    exclude: frozenset[str] = EXCLUDED_NAMESPACES


class Network(msgspec.Struct, frozen=True):
    """How the member's pods are connected. `flat`: they reach the addresses of pods elsewhere."""

    flat: bool = False
    policies: NetworkPolicies = NetworkPolicies.REFLECT


class HealthSpec(msgspec.Struct, rename="camel", frozen=True):
    """When a member becomes suspect, lost, and healthy again. Counts are of probes, all else is in seconds."""

    probe_seconds: Annotated[float, msgspec.Meta(ge=0.1)] = 2.0  # between probes, and the deadline of each
    suspect_after_failures: int = 3  # in a row; as many answers in a row end it
    lost_after_seconds: float = 20.0  # without any sign of life
    return_after_seconds: float = 30.0  # of answers without a failure
    second_look_seconds: float = 60.0  # after which many orphans are deleted if they still are orphans


class MemberClusterSpec(msgspec.Struct, rename="camel", frozen=True):
    """What users declare."""

    kubeconfig_secret_ref: SecretRef
    node_name: str = ""
    provider_id: str = msgspec.field(name="providerID", default="")
    labels: dict[str, str] = {}
    label_keys: list[str] = []  # of labels of the member's nodes; `domain/*` is every label of that domain
    taints: list[Taint] = []
    tolerations: list[Toleration] = []
    capacity: dict[str, str | int] = {}
    capacity_policy: CapacityPolicy = CapacityPolicy.LIMIT
    namespace_mapping: NamespaceMapping = NamespaceMapping()
    namespaces: Namespaces = Namespaces()
    api_access: ApiAccess = ApiAccess.PARENT
    network: Network = Network()
    priority_class_name: str = ""  # of the member, for the member pods
    unschedulable_seconds: float | None = None  # see `waits_for_a_place`
    health: HealthSpec = HealthSpec()

    @property
    def waits_for_a_place(self) -> float:
        """Seconds that a pod waits for a place in the member until it is evicted. A member that scales itself gets more
        time by default: its autoscaler adds a node first."""
        if self.unschedulable_seconds is not None:
            return self.unschedulable_seconds
        return 900.0 if self.capacity_policy is CapacityPolicy.PROMISE else 300.0


class MemberClusterStatus(msgspec.Struct, rename="camel", omit_defaults=True):
    """What the provider reports."""

    observed_generation: int = 0
    node_name: str = ""
    version: str = ""
    cluster_uid: str = ""
    conditions: list[Condition] = []

    def condition(self, type: str) -> Condition | None:
        """The condition of that type, if it was ever set."""
        return next((c for c in self.conditions if c.type == type), None)


class FencedPods(msgspec.Struct, frozen=True):
    """The pods that were bound to the nodes of a member when it was fenced, which a fence removes from the parent.

    `names` are the first of `total`, as `namespace/name`.
    """

    total: int = 0
    names: tuple[str, ...] = ()


class MemberCluster(msgspec.Struct):
    """A MemberCluster as the parent's API server holds it."""

    metadata: Metadata
    spec: MemberClusterSpec
    status: MemberClusterStatus = msgspec.field(default_factory=MemberClusterStatus)

    @property
    def node_name(self) -> str:
        """The name that objects of this member carry as their node: that of its first virtual node."""
        return self.spec.node_name or self.metadata.name

    @property
    def node_names(self) -> list[str]:
        """Names of its virtual nodes. There is one today; no caller may rely on that."""
        return [self.node_name]

    @property
    def fenced(self) -> bool:
        """Whether an administrator has declared that the member is down."""
        return wellknown.FENCED in self.metadata.annotations

    @property
    def fenced_pods(self) -> FencedPods:
        """What the fence records. Empty if another client has damaged it."""
        try:
            return msgspec.json.decode(self.metadata.annotations.get(wellknown.FENCED_PODS, "{}"), type=FencedPods)
        except msgspec.DecodeError:
            return FencedPods()


def decode(raw: Object) -> MemberCluster:
    """A MemberCluster from its raw parts.

    Raises ConfigError (InvalidMemberCluster) with the path of what does not fit: an object that an older or edited CRD
    let through must not disturb the others.
    """
    try:
        spec = msgspec.json.decode(raw.spec, type=MemberClusterSpec)
        status = msgspec.json.decode(raw.status, type=MemberClusterStatus)
    except msgspec.DecodeError as error:
        raise ConfigError(f"membercluster {raw.metadata.name}: {error}", reason="InvalidMemberCluster") from error
    return MemberCluster(raw.metadata, spec, status)
