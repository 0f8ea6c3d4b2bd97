"""Labels, annotations, taints, conditions and reasons of this project: the only place that spells them."""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "vk-provider.io"

# On virtual nodes (parent).
CLUSTER_LABEL: Final = f"{DOMAIN}/cluster"  # topology key of spread and anti-affinity over members
LEAVING_TAINT: Final = f"{DOMAIN}/leaving"  # NoExecute, while a member is being unjoined
SUSPECT_TAINT: Final = f"{DOMAIN}/suspect"  # NoSchedule, while a member is not healthy
OUT_OF_SERVICE_TAINT: Final = (
    "node.kubernetes.io/out-of-service"  # NoExecute: how Kubernetes marks a node that is down for certain
)
MEMBER_REACHABLE: Final = f"{DOMAIN}/MemberReachable"  # condition
PROCESS: Final = f"{DOMAIN}/process"  # annotation of their Leases: host and process ID of the provider that renews it
MEMBER_NODES_NOT_READY: Final = "MemberNodesNotReady"  # reason of Ready: the member's nodes were Ready, and none is
MEMBER_HAS_NO_READY_NODES: Final = "MemberHasNoReadyNodes"  # reason of Ready: no node of the member ever was
MEMBER_SCALES_UP: Final = "MemberScalesUp"  # reason of Ready: the same, and the capacity is promised

# On every object that the provider makes in a member.
PARENT_LABEL: Final = f"{DOMAIN}/parent"  # UID of the parent's kube-system namespace
NODE_LABEL: Final = f"{DOMAIN}/node"  # virtual node
PARENT_UID: Final = f"{DOMAIN}/parent-uid"  # UID of the parent object
PARENT_NAMESPACE: Final = f"{DOMAIN}/parent-namespace"
PARENT_NAME: Final = f"{DOMAIN}/parent-name"
PARENT_SERVICE_ACCOUNT: Final = f"{DOMAIN}/parent-service-account"
PARENT_LABELS: Final = f"{DOMAIN}/parent-labels"  # as the downward API writes them into a file, if a pod asks for it
PARENT_ANNOTATIONS: Final = f"{DOMAIN}/parent-annotations"  # the same for annotations
# Prefix of annotations that keep labels and annotations of a provider above, where the parent is a member itself.
OUTER: Final = f"{DOMAIN}/outer."
# Labels that the API server gives a pod when it binds it, for pods that refer to them: label -> annotation
PARENT_TOPOLOGY: Final = {f"topology.kubernetes.io/{part}": f"{DOMAIN}/parent-{part}" for part in ("zone", "region")}
APPLIED: Final = f"{DOMAIN}/applied"  # images and resources of the parent pod that were applied last
METADATA_KEYS: Final = (
    f"{DOMAIN}/metadata-keys"  # keys of labels and annotations that came from the parent, to remove them later
)
RESTARTS: Final = f"{DOMAIN}/restarts"  # restart counts that earlier member pods of the same parent pod had
TRUST_QUERY: Final = f"{DOMAIN}/trust-query"  # on ConfigMaps that hold trust anchors: the query that found them
TOKEN_EXPIRES: Final = f"{DOMAIN}/token-expires"  # RFC 3339, on Secrets that hold tokens
TOKEN_RENEW: Final = f"{DOMAIN}/token-renew"  # RFC 3339: 80 % of the life
CERTIFICATES_RENEW: Final = f"{DOMAIN}/certificates-renew"  # RFC 3339, on Secrets that hold pod certificates
# Prefix of labels on namespaces, by which NetworkPolicies select them, and the value if the parent's has no such label.
NAMESPACE_LABEL: Final = f"{DOMAIN}/namespace."
NO_LABEL: Final = f"{DOMAIN}.none"

# On parent pods.
CREATED_CONDITION: Final = f"{DOMAIN}/MemberPodCreated"
ON_LOST: Final = f"{DOMAIN}/on-lost"  # Hold or Reschedule
HELD: Final = f"{DOMAIN}/held"  # toleration seconds, as JSON, that a held pod gets back
AT_MOST_ONCE: Final = f"{DOMAIN}/at-most-once"  # "true"; on their member pods too

# On what `plan-failover` creates temporarily: shadow pods, and the PriorityClass that owns them.
PLAN: Final = f"{DOMAIN}/plan"  # label: the plan that it belongs to
PLAN_EXPIRES: Final = f"{DOMAIN}/plan-expires"  # RFC 3339, on the PriorityClass: the plan has ended by then

# On namespaces and DaemonSets of the parent, read by manifests/policies.
TOLERATION_SECONDS: Final = f"{DOMAIN}/toleration-seconds"  # annotation of a namespace
INFRASTRUCTURE: Final = f"{DOMAIN}/infrastructure"  # label of a namespace: "true" keeps its DaemonSets away
VIRTUAL_NODES: Final = f"{DOMAIN}/virtual-nodes"  # label of a DaemonSet: "allow" lets it onto them all the same

# On MemberClusters.
FINALIZER: Final = f"{DOMAIN}/member"
READY: Final = "Ready"
REACHABLE: Final = "Reachable"
ORPHANS_HELD: Final = "OrphansHeld"
PERMISSIONS: Final = "Permissions"
CREDENTIAL: Final = "CredentialValid"
NODE_CONFIGURED: Final = "NodeConfigured"  # whether everything of the virtual nodes could be written
FENCED: Final = f"{DOMAIN}/fenced"  # annotation, RFC 3339: when an administrator declared that the member is down
FENCED_PODS: Final = f"{DOMAIN}/fenced-pods"  # annotation, JSON: which pods were on its node then, see FencedPods
CONFIRM: Final = f"{DOMAIN}/confirm"  # annotation: what an administrator confirms, see below
CONFIRM_ORPHANS: Final = "orphans"
CONFIRM_NEW_CLUSTER: Final = "new-cluster:"  # and the UID of the cluster that is replaced: it is worth one change

# Reasons of conditions and Events about members.
FROZEN: Final = "Frozen"
LISTS_NOT_CURRENT: Final = "ListsNotCurrent"
CREDENTIAL_VALID: Final = "CredentialValid"
CREDENTIAL_EXPIRES_SOON: Final = "CredentialExpiresSoon"
CREDENTIAL_EXPIRED: Final = "CredentialExpired"
RIGHTS_GRANTED: Final = "RightsGranted"
RIGHTS_MISSING: Final = "RightsMissing"
TOO_MANY_ORPHANS: Final = "TooManyOrphans"
CLUSTER_UID_CHANGED: Final = "ClusterUidChanged"
FENCE_NEEDED: Final = "FenceNeeded"
ORPHANS_RELEASED: Final = "Released"
ORPHANS_FENCED: Final = "Fenced"
OUT_OF_SYNC: Final = "PodsOutOfSync"
NAMESPACE_KEPT: Final = "NamespaceKept"
TWO_PROVIDERS: Final = "ServedTwice"
CONFIGURED: Final = "Configured"
PARTS_NOT_WRITTEN: Final = "PartsNotWritten"

# Reasons of Events on virtual nodes.
KUBELET_API_NOT_SERVED: Final = "KubeletApiNotServed"
KUBELET_API_SERVED: Final = "KubeletApiServed"
KUBELET_CERTIFICATE_NOT_RENEWED: Final = "KubeletCertificateNotRenewed"

# Waiting reasons and Event reasons that users meet on pods.
NAME_CONFLICT: Final = "NameConflict"
POLICY_NOT_ENFORCED: Final = "NetworkPolicyNotEnforced"  # on a NetworkPolicy
POLICY_NARROWED: Final = "NetworkPolicyNarrowed"  # on a NetworkPolicy
POLICIES_NOT_KNOWN: Final = "NetworkPoliciesNotKnown"
NAMESPACE_EXCLUDED: Final = "NamespaceExcluded"
MEMBER_UNSCHEDULABLE: Final = "MemberUnschedulable"
MEMBER_REFUSED: Final = "MemberRefused"
MEMBER_POD_LOST: Final = "MemberPodLost"
MEMBER_POD_OVERDUE: Final = "MemberPodOverdue"
DELETED_IN_MEMBER: Final = "DeletedInMember"
EVICTED: Final = "EvictedFromMember"
NOT_EVICTED: Final = "NotEvicted"
NOT_HONOURED: Final = "FieldsNotHonoured"
MEMBER_LOST: Final = "MemberLost"
POD_HELD: Final = "HeldOnLostMember"
NOT_SUPPORTED: Final = "NotSupportedByVirtualNode"

# Where `join` keeps kubeconfigs in the parent.
SYSTEM_NAMESPACE: Final = "vk-provider-system"
