"""Which member cluster is served under which name, so that none is served twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from vk_provider.errors import ConfigError


class Claims:
    """Cluster UID -> name of the MemberCluster that is served with it. One per process."""

    def __init__(self, parent_uid: str) -> None:
        self._parent_uid = parent_uid
        self._names: dict[str, str] = {}

    @contextmanager
    def claim(self, uid: str, name: str) -> Iterator[None]:
        """Claims a cluster within the block: two virtual nodes for one cluster would offer its capacity twice.

        Raises ConfigError: MemberIsParent or AlreadyJoined.
        """
        if uid == self._parent_uid:
            raise ConfigError("the kubeconfig leads to the parent itself", reason="MemberIsParent")
        other = self._names.setdefault(uid, name)
        if other != name:
            raise ConfigError(
                f"the kubeconfig leads to the cluster that is served as member {other} already",
                reason="AlreadyJoined",
                remedy=f"unjoin one of {other} and {name}",
            )
        try:
            yield
        finally:
            self._names.pop(uid, None)
