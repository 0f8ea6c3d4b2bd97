"""Decisions about virtual nodes: resources, labels, status, holds, and failover plans."""
