"""Faults between the provider and either API server: they are reported, and no change is lost or applied twice."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import pytest

from tests import members
from tests.cluster import Cluster
from tests.integration.ways import PATIENCE, Ways
from tests.link import BROKEN, SLOW, Link
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import bare, wait_until_gone, wait_until_running
from vk_provider.kube.resources import PODS

# Fault -> the message of the provider. Silent connections are detected by a deadline.
MESSAGES: Final = {
    "refused": "Connect call failed",
    "reset": "reset by peer|disconnected|not completed|Cannot connect",
    "truncated": "disconnected|not completed|Cannot connect|closed",
    "held": "no answer in time",
    "black hole": "no answer in time",
    "half-open": "no answer in time",
    "429": "a fault of the test: TooManyRequests|no answer in time",
    "500": "a fault of the test: InternalError",
    "503": "a fault of the test: ServiceUnavailable",
    "410": "a fault of the test: Expired",
    "expired certificate": "certificate is not trusted: certificate has expired",
}


Side = Literal["parent", "member"]


@pytest.fixture
def provider(ways: Ways, parent: Cluster) -> Iterator[Provider]:
    """A provider that serves alpha over the links."""
    with ways.serving(parent) as found:
        yield found


@pytest.mark.parametrize("fault", SLOW)
@pytest.mark.parametrize("side", ["parent", "member"])
def test_a_bad_connection_delays_changes_but_does_not_prevent_them(
    parent: Cluster, alpha: Cluster, ways: Ways, provider: Provider, namespace: str, side: Side, fault: str
) -> None:
    case = Case.begin(parent, alpha, namespace)
    getattr(ways, side).fault(fault)
    case.change()
    case.wait_until_converged()


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("side", ["parent", "member"])
def test_a_broken_connection_is_reported_and_changes_are_applied_when_it_works_again(
    parent: Cluster, alpha: Cluster, ways: Ways, provider: Provider, namespace: str, side: Side, fault: str
) -> None:
    case = Case.begin(parent, alpha, namespace)
    link: Link = getattr(ways, side)
    written = len(provider.log)
    link.fault(fault)
    case.change()
    if side == "member" and fault != "truncated":  # short answers pass, so the member answers
        eventually(lambda: is_reported(parent, MESSAGES[fault]), f"the MemberCluster reports the fault: {fault}", 60)
    else:
        eventually(
            lambda: is_logged(provider.log[written:], MESSAGES[fault]), f"the log reports the fault: {fault}", 90
        )
    link.heal()
    case.wait_until_converged()
    members.wait_until_served(parent, "alpha", PATIENCE)


@dataclass
class Case:
    """Four pods: one is unchanged. During the fault, one is changed, one deleted and one created."""

    parent: Cluster
    alpha: Cluster
    namespace: str
    before: dict[str, str]  # name -> UID in the member
    position: int

    @classmethod
    def begin(cls, parent: Cluster, alpha: Cluster, namespace: str) -> Case:
        for name in ("stays", "changed", "removed"):
            parent.create(PODS, bare(name), namespace)
        for name in ("stays", "changed", "removed"):
            wait_until_running(parent, name, namespace, PATIENCE)
        return cls(parent, alpha, namespace, uids(alpha, namespace), alpha.audit_position())

    def change(self) -> None:
        self.parent.create(PODS, bare("new"), self.namespace)
        self.parent.patch(PODS, "changed", {"metadata": {"labels": {"tier": "new"}}}, self.namespace)
        self.parent.delete(PODS, "removed", self.namespace)

    def wait_until_converged(self) -> None:
        wait_until_running(self.parent, "new", self.namespace, PATIENCE)
        wait_until_gone(self.parent, "removed", self.namespace, PATIENCE)
        eventually(
            lambda: self.alpha.get(PODS, "changed", self.namespace)["metadata"]["labels"].get("tier") == "new",
            "the change is in the member",
            PATIENCE,
        )
        for name in ("stays", "changed"):
            wait_until_running(self.parent, name, self.namespace, PATIENCE)
        after = uids(self.alpha, self.namespace)
        assert set(after) == {"stays", "changed", "new"}
        assert {name: after[name] for name in ("stays", "changed")} == {
            name: self.before[name] for name in ("stays", "changed")
        }
        assert self._done("create", 201) == {"new": 1}
        assert set(self._done("delete", 200)) == {"removed"}

    def _done(self, verb: str, status: int) -> Counter[str]:
        """The provider's requests for pods of the member with this status, even if the answer did not arrive."""
        return Counter(
            request.name
            for request in self.alpha.requests(self.position)
            if (request.agent, request.resource, request.subresource) == ("vk-provider", "pods", "")
            if (request.namespace, request.verb, request.status) == (self.namespace, verb, status)
        )


def is_reported(parent: Cluster, expected: str) -> bool:
    condition = members.ready_condition(parent, "alpha")
    assert condition.get("status") == "False", condition
    assert re.search(expected, condition["message"]), condition
    return True


def is_logged(log: str, expected: str) -> bool:
    return any("level=warning" in line and re.search(expected, line) for line in log.splitlines())


def uids(cluster: Cluster, namespace: str) -> dict[str, str]:
    return {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.list(PODS, namespace)}
