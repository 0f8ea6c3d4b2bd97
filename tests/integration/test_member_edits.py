"""Edits of a MemberCluster while its member is served."""

from __future__ import annotations

import pytest

from tests import members
from tests.cluster import ApiFailure, Cluster, Json
from tests.integration.lost_members import port
from tests.provider import Provider
from tests.waiting import eventually
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import NODES


@pytest.mark.parametrize(
    "health",
    [
        {"lostAfterSeconds": 5},
        {"probeSeconds": 0},
        {"suspectAfterFailures": 0},
        {"probeSeconds": 1, "lostAfterSeconds": 2},
    ],
)
def test_inconsistent_thresholds_are_rejected(parent: Cluster, provider: Provider, health: Json) -> None:
    with pytest.raises(ApiFailure, match="422"):
        parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": {"health": health}})


def test_an_edit_that_needs_no_new_connection_keeps_the_port_of_the_node(parent: Cluster, provider: Provider) -> None:
    before = eventually(lambda: port(parent, "alpha"), "the kubelet API is served")
    change = {"labels": {"size": "large"}, "capacity": {"pods": "77"}, "health": {"lostAfterSeconds": 30}}
    parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": change})
    eventually(
        lambda: parent.get(NODES, "alpha")["metadata"]["labels"].get("size") == "large", "the node has the label"
    )
    eventually(lambda: parent.get(NODES, "alpha")["status"]["allocatable"]["pods"] == "77", "the node has the cap")
    members.wait_until_served(parent, "alpha")
    undo = {"labels": None, "capacity": None, "health": None}
    parent.patch(MEMBER_CLUSTERS, "alpha", {"spec": undo})
    eventually(lambda: "size" not in parent.get(NODES, "alpha")["metadata"]["labels"], "the label is removed")
    assert port(parent, "alpha") == before, "another port means a restart of the kubelet API, which ends all sessions"
