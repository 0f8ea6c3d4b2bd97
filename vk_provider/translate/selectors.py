"""Expressions of label selectors and node selectors.

(https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors; Gt and Lt are of nodes only)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def matches(value: str | None, expression: Mapping[str, Any]) -> bool:
    """Whether a label (or field) of that value satisfies the expression; None: it is not there."""
    values: list[str] = expression.get("values") or []
    match expression.get("operator"):
        case "In":
            return value in values
        case "NotIn":
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt" as operator:
            try:
                number, limit = int(value or ""), int(values[0])
            except (ValueError, IndexError):
                return False
            return number > limit if operator == "Gt" else number < limit
    return False
