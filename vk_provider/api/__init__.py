"""What this project adds to the Kubernetes API: MemberCluster, labels, annotations, taints, conditions."""
