"""Decisions about virtual nodes: resources, labels, status, holds, and the plan of a failover."""
