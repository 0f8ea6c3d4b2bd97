"""The objects and words that this project adds to Kubernetes: MemberCluster, labels, annotations, conditions."""
