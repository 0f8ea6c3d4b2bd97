"""MemberClusters that cannot be served report the reason without affecting others; and members that leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests import members
from tests.cluster import Cluster
from tests.members import kubeconfig, set_kubeconfig, wait_until_refused, wait_until_served
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import bare, pod, wait_until_gone, wait_until_running
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import NODES, PODS, SECRETS, SERVICE_ACCOUNTS

Join = Callable[..., None]
AT_ONCE: Final = 25.0  # seconds: less than the deadline of a request to another member


@pytest.fixture
def joined(parent: Cluster, provider: Provider) -> Iterator[Join]:
    """Joins a member for one test."""
    names: list[str] = []

    def join(name: str, content: str, **spec: Any) -> None:
        names.append(name)
        members.join(parent, name, content, **spec)

    yield join
    for name in names:
        if members.is_served(parent, name):
            members.unjoin(parent, name)
        else:
            members.discard(parent, name)


@pytest.fixture
def others_serve(parent: Cluster, namespace: str) -> Iterator[None]:
    """After the test: a pod on the healthy member still starts and is deleted without delay."""
    yield
    parent.create(PODS, bare("elsewhere"), namespace)
    wait_until_running(parent, "elsewhere", namespace, AT_ONCE)
    parent.delete(PODS, "elsewhere", namespace)
    wait_until_gone(parent, "elsewhere", namespace, AT_ONCE)


@pytest.mark.usefixtures("others_serve")
class TestAMemberIsNotServedWith:
    def test_a_malformed_kubeconfig(self, parent: Cluster, joined: Join) -> None:
        joined("broken", "{not a kubeconfig")
        wait_until_refused(parent, "broken", "KubeconfigInvalid")

    def test_a_kubeconfig_that_references_files(self, parent: Cluster, beta: Cluster, joined: Join) -> None:
        content = kubeconfig(beta).replace('"token"', '"tokenFile"')
        joined("broken", content)
        message = wait_until_refused(parent, "broken", "KubeconfigInvalid")
        assert "tokenFile names a file" in message
        assert "eyJ" not in message, "the value may be the token itself"

    def test_a_credential_that_the_member_does_not_accept(self, parent: Cluster, beta: Cluster, joined: Join) -> None:
        joined("broken", kubeconfig(beta, token="wrong"))
        assert "does not accept the credential" in wait_until_refused(parent, "broken", "Unauthorized")

    def test_the_authority_of_another_cluster(
        self, parent: Cluster, alpha: Cluster, beta: Cluster, joined: Join
    ) -> None:
        joined("broken", kubeconfig(beta, ca=alpha.ca_data))
        assert "not trusted" in wait_until_refused(parent, "broken", "CertificateInvalid")

    def test_too_few_permissions(self, parent: Cluster, beta: Cluster, joined: Join) -> None:
        joined("broken", kubeconfig(beta, account="default"))
        message = wait_until_refused(parent, "broken", "Forbidden")
        assert "get/list/watch/create/patch/delete pods" in message
        assert "manifests/member/rbac.yaml" in message

    def test_an_address_that_does_not_answer(self, parent: Cluster, beta: Cluster, joined: Join) -> None:
        joined("broken", kubeconfig(beta, server=f"https://{beta.info.address}:1"))
        wait_until_refused(parent, "broken", "Unreachable")

    def test_a_missing_secret(self, parent: Cluster, beta: Cluster, joined: Join) -> None:
        joined("broken", kubeconfig(beta))
        parent.delete(SECRETS, "broken-kubeconfig", members.SYSTEM)
        parent.patch(MEMBER_CLUSTERS, "broken", {"spec": {"labels": {"again": "yes"}}})
        wait_until_refused(parent, "broken", "SecretNotFound")

    def test_the_name_of_a_node_that_is_no_virtual_node(self, parent: Cluster, beta: Cluster, joined: Join) -> None:
        parent.create(NODES, {"metadata": {"name": "metal"}})
        before = parent.get(NODES, "metal")["metadata"]
        joined("broken", kubeconfig(beta), nodeName="metal")
        wait_until_refused(parent, "broken", "NodeNameTaken")
        after = parent.get(NODES, "metal")["metadata"]
        assert [after.get(key) for key in ("uid", "labels")] == [before.get(key) for key in ("uid", "labels")]
        members.discard(parent, "broken")
        assert parent.find(NODES, "metal"), "the provider does not delete nodes of others"
        parent.delete(NODES, "metal")

    def test_a_cluster_that_is_a_member_already(self, parent: Cluster, alpha: Cluster, joined: Join) -> None:
        joined("broken", kubeconfig(alpha))
        assert "alpha" in wait_until_refused(parent, "broken", "AlreadyJoined")

    def test_the_parent_itself(self, parent: Cluster, joined: Join) -> None:
        members.grant(parent)
        joined("broken", kubeconfig(parent))
        wait_until_refused(parent, "broken", "MemberIsParent")


def test_a_member_is_served_after_its_secret_is_corrected(parent: Cluster, beta: Cluster, joined: Join) -> None:
    joined("beta", kubeconfig(beta, token="wrong"))
    wait_until_refused(parent, "beta", "Unauthorized")
    set_kubeconfig(parent, "beta", kubeconfig(beta))
    wait_until_served(parent, "beta")


def test_a_changed_secret_is_used_and_pods_stay(parent: Cluster, beta: Cluster, joined: Join, namespace: str) -> None:
    joined("beta", kubeconfig(beta))
    wait_until_served(parent, "beta")
    parent.create(PODS, bare("before", node="beta"), namespace)
    wait_until_running(parent, "before", namespace)
    uid = beta.get(PODS, "before", namespace)["metadata"]["uid"]
    beta.create(SERVICE_ACCOUNTS, {"metadata": {"name": "second"}}, members.SYSTEM)
    members.bind(beta, "second")
    set_kubeconfig(parent, "beta", kubeconfig(beta, account="second"))
    beta.delete(SERVICE_ACCOUNTS, "vk-provider", members.SYSTEM)
    try:
        parent.create(PODS, bare("after", node="beta"), namespace)
        wait_until_running(parent, "after", namespace, 60)
        assert beta.get(PODS, "before", namespace)["metadata"]["uid"] == uid
        eventually(lambda: members.ready_condition(parent, "beta")["status"] == "True", "the condition is True")
    finally:
        members.grant(beta)


def test_a_revoked_credential_is_reported_and_pods_keep_running(
    parent: Cluster, beta: Cluster, joined: Join, namespace: str
) -> None:
    members.grant(beta)
    joined("beta", kubeconfig(beta))
    wait_until_served(parent, "beta")
    parent.create(PODS, bare("web", node="beta"), namespace)
    wait_until_running(parent, "web", namespace)
    beta.delete(SERVICE_ACCOUNTS, "vk-provider", members.SYSTEM)
    try:
        eventually(lambda: members.ready_condition(parent, "beta")["status"] == "False", "the condition is False", 60)
        assert wait_until_running(beta, "web", namespace)
    finally:
        members.grant(beta)
        set_kubeconfig(parent, "beta", kubeconfig(beta))
    wait_until_served(parent, "beta", 60)


def test_everything_is_deleted_when_a_member_leaves(
    parent: Cluster, beta: Cluster, joined: Join, namespace: str
) -> None:
    joined("beta", kubeconfig(beta))
    wait_until_served(parent, "beta")
    tolerant = [{"operator": "Exists"}]
    parent.create(PODS, pod("plain", node="beta"), namespace)
    parent.create(PODS, pod("tolerant", node="beta", tolerations=tolerant), namespace)
    for name in ("plain", "tolerant"):
        wait_until_running(parent, name, namespace)
    assert members.remains(beta, "beta") != set()
    parent.delete(MEMBER_CLUSTERS, "beta")
    eventually(lambda: parent.find(MEMBER_CLUSTERS, "beta") is None, "the MemberCluster is deleted", 60)
    assert parent.find(NODES, "beta") is None
    assert parent.find(SECRETS, "beta-kubeconfig", members.SYSTEM) is None
    assert parent.list(PODS, namespace) == []
    assert members.remains(beta, "beta") == set()


def test_a_member_that_was_never_reached_can_leave(parent: Cluster, beta: Cluster, joined: Join) -> None:
    joined("broken", kubeconfig(beta, token="wrong"))
    wait_until_refused(parent, "broken", "Unauthorized")
    parent.delete(MEMBER_CLUSTERS, "broken")
    eventually(lambda: parent.find(MEMBER_CLUSTERS, "broken") is None, "the MemberCluster is deleted", 60)
    assert parent.find(SECRETS, "broken-kubeconfig", members.SYSTEM) is None


def test_without_the_crd_the_provider_exits_with_one_line(
    alpha: Cluster, start_provider: Callable[[Path], Provider]
) -> None:
    provider = start_provider(alpha.kubeconfig)
    assert provider.wait() == 1
    (line,) = provider.log.splitlines()
    assert "does not know MemberClusters" in line
    assert "kubectl apply -f manifests/crds" in line
