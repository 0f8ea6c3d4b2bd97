"""Labels, annotations, conditions and reasons of this project: the only place that spells them."""

from __future__ import annotations

from typing import Final

DOMAIN: Final = "vk-provider.io"

# On virtual nodes (parent).
CLUSTER_LABEL: Final = f"{DOMAIN}/cluster"  # topology key of spread and anti-affinity over members
LEAVING_TAINT: Final = f"{DOMAIN}/leaving"  # NoExecute, while a member is being unjoined

# On every object that the provider makes in a member.
PARENT_LABEL: Final = f"{DOMAIN}/parent"  # UID of the parent's kube-system namespace
NODE_LABEL: Final = f"{DOMAIN}/node"  # virtual node
PARENT_UID: Final = f"{DOMAIN}/parent-uid"  # UID of the parent object
PARENT_NAMESPACE: Final = f"{DOMAIN}/parent-namespace"
PARENT_NAME: Final = f"{DOMAIN}/parent-name"
PARENT_SERVICE_ACCOUNT: Final = f"{DOMAIN}/parent-service-account"
METADATA_KEYS: Final = f"{DOMAIN}/metadata-keys"  # labels and annotations that came from the parent, for their removal
RESTARTS: Final = f"{DOMAIN}/restarts"  # restart counts that earlier member pods of the same parent pod had
TRUST_QUERY: Final = f"{DOMAIN}/trust-query"  # on ConfigMaps that hold trust anchors: which of the parent's
TOKEN_EXPIRES: Final = f"{DOMAIN}/token-expires"  # RFC 3339, on Secrets that hold tokens
TOKEN_RENEW: Final = f"{DOMAIN}/token-renew"  # RFC 3339: 80 % of the life
CERTIFICATES_RENEW: Final = f"{DOMAIN}/certificates-renew"  # RFC 3339, on Secrets that hold pod certificates

# On parent pods.
CREATED_CONDITION: Final = f"{DOMAIN}/MemberPodCreated"

# On MemberClusters.
FINALIZER: Final = f"{DOMAIN}/member"
READY: Final = "Ready"

# Waiting reasons and Event reasons that users meet on pods.
NAME_CONFLICT: Final = "NameConflict"
MEMBER_UNSCHEDULABLE: Final = "MemberUnschedulable"
MEMBER_REFUSED: Final = "MemberRefused"
MEMBER_POD_LOST: Final = "MemberPodLost"
NOT_SUPPORTED: Final = "NotSupportedByVirtualNode"

# Where `join` keeps kubeconfigs in the parent.
SYSTEM_NAMESPACE: Final = "vk-provider-system"
