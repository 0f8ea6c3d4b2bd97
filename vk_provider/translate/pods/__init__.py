"""Decisions about pods: what to do next, the member pod, the parent pod's status."""
