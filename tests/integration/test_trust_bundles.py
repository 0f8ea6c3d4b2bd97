"""ClusterTrustBundles of the parent for pods in a member."""

from __future__ import annotations

import base64

import pytest

from tests.cluster import Cluster
from tests.waiting import eventually
from tests.workloads import bare, wait_until_gone, wait_until_running
from vk_provider.api import wellknown
from vk_provider.kube.resources import CLUSTER_TRUST_BUNDLES, CONFIG_MAPS, PODS

pytestmark = pytest.mark.usefixtures("provider")


def test_pods_with_the_same_trust_anchors_share_them_until_the_last_pod_is_deleted(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    anchor = base64.b64decode(parent.ca_data).decode()
    name = f"test-{namespace}"
    source = {"clusterTrustBundle": {"name": name, "path": "ca.pem", "optional": True}}
    for pod in ("one", "two"):
        volumes = [{"name": "trust", "projected": {"sources": [source]}}]
        parent.create(PODS, bare(pod, volumes=volumes), namespace)
        wait_until_running(parent, pod, namespace)
    assert [held["data"] for held in answers(alpha, namespace)] == [{"trust-anchors.pem": ""}]
    parent.create(CLUSTER_TRUST_BUNDLES, {"metadata": {"name": name}, "spec": {"trustBundle": anchor}})
    eventually(
        lambda: [held["data"] for held in answers(alpha, namespace)] == [{"trust-anchors.pem": anchor}],
        "the new bundle is added",
    )
    parent.delete(CLUSTER_TRUST_BUNDLES, name)
    eventually(
        lambda: [held["data"] for held in answers(alpha, namespace)] == [{"trust-anchors.pem": ""}],
        "the bundle is removed",
    )
    parent.delete(PODS, "one", namespace)
    wait_until_gone(parent, "one", namespace)
    assert answers(alpha, namespace), "the other pod needs the trust anchors"
    parent.delete(PODS, "two", namespace)
    eventually(lambda: not answers(alpha, namespace), "the trust anchors are deleted with the last pod")


def answers(cluster: Cluster, namespace: str) -> list[dict[str, dict[str, str]]]:
    """The objects with trust anchors in a namespace of the member."""
    found = cluster.list(CONFIG_MAPS, namespace, labels=f"{wellknown.NODE_LABEL}=alpha")
    return [one for one in found if wellknown.TRUST_QUERY in one["metadata"]["annotations"]]
