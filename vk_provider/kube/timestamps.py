"""Times as the Kubernetes API writes them: RFC 3339, UTC (k8s.io/apimachinery/pkg/apis/meta/v1: Time, MicroTime)."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """A `Time`: whole seconds, rounded down."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(moment: datetime) -> str:
    """A `MicroTime`: with microseconds, as in Leases."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
