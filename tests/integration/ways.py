"""A provider whose requests go over links of a test's, which begins and ends what goes wrong on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests import members
from tests.cluster import Cluster
from tests.integration.connecting import admin_token, document
from tests.link import Link
from tests.provider import Provider

FAST: Final = {"probeSeconds": 1, "lostAfterSeconds": 5, "returnAfterSeconds": 2}  # the health of alpha
# Seconds: a connection that was silenced, by the test before this one too, counts as broken after 100 at the latest.
PATIENCE: Final = 150.0


@dataclass
class Ways:
    """A provider all of whose requests go over two links."""

    parent: Link
    member: Link
    provider: Provider

    @contextmanager
    def serving(self, parent: Cluster) -> Iterator[Provider]:
        """It runs, and serves alpha; afterwards both links are whole again."""
        self.provider.start()
        members.wait_until_served(parent, "alpha", PATIENCE)
        yield self.provider
        for link in (self.parent, self.member):
            link.heal()
        assert not self.provider.crashed, "the provider has ended by itself"


@contextmanager
def two_ways(parent: Cluster, alpha: Cluster, directory: Path) -> Iterator[Ways]:
    """The provider's kubeconfig and its log are in the directory. It does not run yet, and no other may."""
    with ExitStack() as stack:
        to_parent, to_member = stack.enter_context(Link(parent)), stack.enter_context(Link(alpha))
        kubeconfig = directory / "parent.kubeconfig"
        kubeconfig.write_text(json.dumps(to_parent.through(document(parent, None, {"token": admin_token(parent)}))))
        content = json.loads(members.kubeconfig(alpha))
        members.set_kubeconfig(parent, "alpha", json.dumps(to_member.through(content)))
        members.set_health(parent, "alpha", FAST)
        provider = Provider(kubeconfig, directory / "provider.log")
        stack.callback(provider.stop)
        yield Ways(to_parent, to_member, provider)
        members.set_kubeconfig(parent, "alpha", json.dumps(content))
        members.set_health(parent, "alpha", None)
