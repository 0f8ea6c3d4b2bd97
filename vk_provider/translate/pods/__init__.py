"""Decisions about pods: the next action, the member pod, and the parent pod's status."""
