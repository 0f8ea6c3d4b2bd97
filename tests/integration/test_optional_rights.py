"""A member is served without the features for which its credential lacks permissions, and reports them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import yaml

from tests import members
from tests.cluster import BINDINGS, CLUSTER_ROLES, Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import pod, wait_until_gone, wait_until_running
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import PODS, SERVICE_ACCOUNTS

ACCOUNT: Final = "few-rights"
LACKS: Final = frozenset({"events", "leases", "pods/resize", "services"})
MANIFEST: Final = Path(__file__).resolve().parents[2] / "manifests" / "member" / "rbac.yaml"


@pytest.fixture
def few(parent: Cluster, beta: Cluster, provider: Provider) -> Iterator[str]:
    """Member `few`: cluster beta, with a credential that lacks the permissions of some features."""
    (role,) = (
        document
        for document in yaml.safe_load_all(MANIFEST.read_text())
        if (document["kind"], document["metadata"]["name"]) == ("ClusterRole", "vk-provider-member")
    )
    rules = [{**rule, "resources": [each for each in rule["resources"] if each not in LACKS]} for rule in role["rules"]]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": ACCOUNT}
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": members.SYSTEM}
    beta.create(SERVICE_ACCOUNTS, {"metadata": {"name": ACCOUNT}}, members.SYSTEM)
    beta.create(CLUSTER_ROLES, {"metadata": {"name": ACCOUNT}, "rules": [rule for rule in rules if rule["resources"]]})
    beta.create(BINDINGS, {"metadata": {"name": ACCOUNT}, "roleRef": reference, "subjects": [subject]})
    members.join(parent, "few", members.kubeconfig(beta, account=ACCOUNT))
    yield "few"
    members.unjoin(parent, "few")
    beta.delete(BINDINGS, ACCOUNT)
    beta.delete(CLUSTER_ROLES, ACCOUNT)
    beta.delete(SERVICE_ACCOUNTS, ACCOUNT, members.SYSTEM)


def permissions(parent: Cluster, name: str) -> Json:
    conditions = parent.get(MEMBER_CLUSTERS, name)["status"]["conditions"]
    return next((each for each in conditions if each["type"] == "Permissions"), {})


def test_a_member_is_served_without_the_features_whose_permissions_are_missing(
    parent: Cluster, beta: Cluster, few: str, namespace: str
) -> None:
    members.wait_until_served(parent, few)
    found = eventually(lambda: permissions(parent, few), "the condition names the missing permissions")
    assert (found["status"], found["reason"]) == ("False", "RightsMissing")
    for right in ("list/watch events", "list/watch leases", "patch pods/resize", "watch/create/patch/delete services"):
        assert right in found["message"]
    parent.create(PODS, pod("plain", node=few), namespace)
    wait_until_running(parent, "plain", namespace)
    parent.delete(PODS, "plain", namespace)
    wait_until_gone(parent, "plain", namespace)
