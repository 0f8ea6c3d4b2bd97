"""A provider with links to its API servers, on which tests switch faults on and off."""

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

FAST: Final = {"probeSeconds": 1, "lostAfterSeconds": 5, "returnAfterSeconds": 2}  # the thresholds for alpha
# Seconds: a silent connection, also of the previous test, is detected as broken after at most 100.
PATIENCE: Final = 150.0


@dataclass
class Ways:
    """A provider with a link for each of its two API servers."""

    parent: Link
    member: Link
    provider: Provider

    @contextmanager
    def serving(self, parent: Cluster) -> Iterator[Provider]:
        """The provider runs and serves alpha. Afterwards both links are healed."""
        self.provider.start()
        members.wait_until_served(parent, "alpha", PATIENCE)
        yield self.provider
        for link in (self.parent, self.member):
            link.heal()
        assert not self.provider.crashed, "the provider has exited by itself"


@contextmanager
def two_ways(parent: Cluster, alpha: Cluster, directory: Path) -> Iterator[Ways]:
    """The provider is not started yet. Its kubeconfig and log are in the directory. No other provider may run."""
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
