"""Decisions of the kubelet API: the metrics of a virtual node, from those of member nodes."""
