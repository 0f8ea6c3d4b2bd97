"""The virtual nodes of a member: status, labels, taints, Lease, holds."""
