"""Decisions of the kubelet API: metrics of a virtual node, computed from those of the member's nodes."""
