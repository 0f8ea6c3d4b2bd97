"""Whether a controller of the parent's cloud may delete a virtual node, because it has no `spec.providerID`."""

from __future__ import annotations

from collections.abc import Iterable


def missing_provider_id(ours: str, others: Iterable[str]) -> bool:
    """Whether other Nodes have a providerID, and ours has none.

    Then a cloud controller runs in the parent, and may look for the machine of each Node that is not Ready by its name.
    """
    return not ours and any(others)
