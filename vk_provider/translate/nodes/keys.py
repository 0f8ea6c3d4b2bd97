"""Names that the API server accepts in labels, taints and resources of a Node.

(https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#syntax-and-character-set). The CRD checks the
same; a MemberCluster that an older CRD let through must not keep the rest of the Node from being written.
"""

from __future__ import annotations

import re
from typing import Final

_NAME: Final = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)")
_LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN: Final = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def is_qualified_name(key: str) -> bool:
    """Whether it may be the key of a label or taint, or the name of a resource."""
    domain, slash, name = key.rpartition("/")
    if slash and (len(domain) > 253 or not _DOMAIN.fullmatch(domain)):
        return False
    return bool(_NAME.fullmatch(name))


def is_value(value: str) -> bool:
    """Whether it may be the value of a label or taint."""
    return not value or bool(_NAME.fullmatch(value))
