"""Label selectors and node selectors.

(https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors; Gt and Lt exist for nodes
only)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from vk_provider.kube.objects import Metadata, Pod

REQUIRED: Final = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED: Final = "preferredDuringSchedulingIgnoredDuringExecution"


class _NodeAffinity(msgspec.Struct, rename="camel"):
    required: dict[str, Any] | None = msgspec.field(default=None, name=REQUIRED)


class _Affinity(msgspec.Struct, rename="camel"):
    node_affinity: _NodeAffinity | None = None


class _Spec(msgspec.Struct, rename="camel"):
    node_selector: dict[str, str] | None = None
    affinity: _Affinity | None = None


_spec = msgspec.json.Decoder(_Spec)


def matches(value: str | None, expression: Mapping[str, Any]) -> bool:
    """Whether a label (or field) with that value satisfies the expression; None: the label does not exist."""
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


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a label selector selects an object with these labels. An empty selector selects every object."""
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        matches(labels.get(expression["key"]), expression) for expression in selector.get("matchExpressions") or ()
    )


def node_affinity_matches(pod: Pod, nodes: Iterable[Metadata]) -> bool:
    """Whether at least one of the nodes satisfies the pod's nodeSelector and required node affinity.

    Free resources, taints and the placement of other pods are not considered: these can change while the pod waits.
    """
    spec = _spec.decode(pod.spec)
    selector = spec.node_selector or {}
    affinity = spec.affinity.node_affinity.required if spec.affinity and spec.affinity.node_affinity else None
    terms: list[dict[str, Any]] = (affinity or {}).get("nodeSelectorTerms") or []
    return any(
        all(node.labels.get(key) == value for key, value in selector.items())
        and (affinity is None or any(_satisfies(node, term) for term in terms))
        for node in nodes
    )


def _satisfies(node: Metadata, term: Mapping[str, Any]) -> bool:
    expressions, names = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not expressions and not names:
        return False  # an empty term selects nothing
    return all(matches(node.labels.get(e["key"]), e) for e in expressions) and all(
        matches(node.name, e) for e in names if e["key"] == "metadata.name"
    )
