"""The command join against real API servers.

`beta` is the parent here: no provider serves it, and only `join` creates MemberClusters in it. `alpha` is the member.
`clusters["parent"]` is another cluster that can become one.
"""

from __future__ import annotations

from pathlib import Path

from tests import members
from tests.cluster import Cluster, Json
from tests.integration.commands import CRD, Vk, error
from tests.waiting import eventually
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.api.wellknown import CLUSTER_LABEL, FINALIZER, SYSTEM_NAMESPACE
from vk_provider.kube.resources import CRDS, NODES, SECRETS


def spec(home: Cluster, name: str = "west") -> Json:
    found: Json = home.get(MEMBER_CLUSTERS, name)["spec"]
    return found


def test_the_first_join_installs_the_definition_and_the_next_keeps_it(home: Cluster, vk: Vk, west: str) -> None:
    home.delete(CRDS, CRD)
    eventually(lambda: home.find(CRDS, CRD) is None, "the definition is gone")
    assert vk("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    installed = home.get(CRDS, CRD)["metadata"]
    assert vk("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    assert home.get(CRDS, CRD)["metadata"]["generation"] == installed["generation"]
    assert home.get(CRDS, CRD)["metadata"]["managedFields"] == installed["managedFields"]


def test_join_updates_an_older_definition(home: Cluster, joined: Vk, west: str) -> None:
    columns = "/spec/versions/0/additionalPrinterColumns"
    home.patch(CRDS, CRD, [{"op": "remove", "path": f"{columns}/0"}], content_type="application/json-patch+json")
    assert joined("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    (version,) = home.get(CRDS, CRD)["spec"]["versions"]
    assert version["additionalPrinterColumns"][0]["name"] == "Node"


def test_join_writes_the_secret_and_the_member_cluster(home: Cluster, vk: Vk, west: str) -> None:
    result = vk(
        *("join", "west", "--kubeconfig", west, "--no-wait", "--node-name", "west.eu", "--label", "zone=a"),
        *(
            "--taint",
            "gpu=yes:NoSchedule",
            "--capacity",
            "cpu=64",
            "--namespace-prefix",
            "p-",
            "--api-access",
            "Member",
        ),
    )
    assert result.exit_code == 0
    assert result.stdout.startswith("west joined: Kubernetes v1.")
    assert spec(home) == {
        "kubeconfigSecretRef": {"name": "member-west", "namespace": SYSTEM_NAMESPACE, "key": "kubeconfig"},
        "nodeName": "west.eu",
        "labels": {"zone": "a"},
        "taints": [{"key": "gpu", "value": "yes", "effect": "NoSchedule"}],
        "capacity": {"cpu": "64"},
        "capacityPolicy": "Limit",
        "namespaceMapping": {"prefix": "p-"},
        "apiAccess": "Member",
    }
    secret = home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)
    assert (secret["type"], secret["metadata"]["labels"]) == ("Opaque", {CLUSTER_LABEL: "west"})
    assert list(secret["data"]) == ["kubeconfig"]


def test_a_second_join_keeps_fields_without_an_option(home: Cluster, vk: Vk, west: str) -> None:
    vk("join", "west", "--kubeconfig", west, "--no-wait", "--label", "a=1", "--label", "b=2", "--capacity", "cpu=64")
    result = vk("join", "west", "--kubeconfig", west, "--no-wait", "--label", "a=3")
    assert result.stdout.startswith("west updated: ")
    assert (spec(home)["labels"], spec(home)["capacity"]) == ({"a": "3"}, {"cpu": "64"})


def test_a_second_join_renews_the_kubeconfig(home: Cluster, joined: Vk, alpha: Cluster, west: str) -> None:
    before = home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)["data"]
    Path(west).write_text(members.kubeconfig(alpha))  # with another token
    assert joined("join", "west", "--kubeconfig", west, "--no-wait").exit_code == 0
    assert home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)["data"] != before


def test_the_parent_cannot_be_its_own_member(home: Cluster, vk: Vk) -> None:
    assert "parent itself" in error(vk("join", "self", "--kubeconfig", str(home.kubeconfig)))
    assert home.find(SECRETS, "member-self", SYSTEM_NAMESPACE) is None


def test_a_cluster_cannot_be_joined_with_two_names(joined: Vk, west: str) -> None:
    assert "as west" in error(joined("join", "east", "--kubeconfig", west))


def test_a_name_cannot_be_used_for_two_clusters(joined: Vk, clusters: dict[str, Cluster]) -> None:
    message = error(joined("join", "west", "--kubeconfig", str(clusters["parent"].kubeconfig)))
    assert "another cluster" in message and "unjoin west" in message


def test_a_virtual_node_cannot_belong_to_two_members(joined: Vk, clusters: dict[str, Cluster]) -> None:
    other = str(clusters["parent"].kubeconfig)
    assert "belongs to member west" in error(joined("join", "east", "--kubeconfig", other, "--node-name", "west"))


def test_join_rejects_the_name_of_a_node_that_is_no_virtual_node(home: Cluster, vk: Vk, west: str) -> None:
    taken = home.list(NODES)[0]["metadata"]["name"]
    message = error(vk("join", "west", "--kubeconfig", west, "--node-name", taken))
    assert taken in message and "--node-name" in message


def test_join_does_not_change_a_secret_of_another_client(home: Cluster, vk: Vk, west: str) -> None:
    body = {"metadata": {"name": "member-west"}, "stringData": {"mine": "yes"}}
    home.create(SECRETS, body, SYSTEM_NAMESPACE)
    try:
        assert "member-west" in error(vk("join", "west", "--kubeconfig", west))
        assert list(home.get(SECRETS, "member-west", SYSTEM_NAMESPACE)["data"]) == ["mine"]
    finally:
        home.delete(SECRETS, "member-west", SYSTEM_NAMESPACE)


def test_join_reports_the_error_of_the_server_and_leaves_no_objects(home: Cluster, vk: Vk, west: str) -> None:
    message = error(vk("join", "west", "--kubeconfig", west, "--label", "vk-provider.io/x=y"))
    assert "vk-provider.io/ labels and kubernetes.io/hostname are set by the provider" in message
    assert home.find(SECRETS, "member-west", SYSTEM_NAMESPACE) is None
    assert home.list(MEMBER_CLUSTERS) == []


def test_the_name_of_the_virtual_node_cannot_change(joined: Vk, west: str) -> None:
    assert "nodeName cannot be changed" in error(joined("join", "west", "--kubeconfig", west, "--node-name", "other"))


def test_the_error_about_missing_permissions_names_them(vk: Vk, alpha: Cluster, west: str) -> None:
    Path(west).write_text(members.kubeconfig(alpha, account="default"))
    message = error(vk("join", "west", "--kubeconfig", west))
    assert "lacks" in message and "pods" in message and "manifests/member/rbac.yaml" in message


def test_the_error_about_an_invalid_credential_does_not_contain_it(vk: Vk, alpha: Cluster, west: str) -> None:
    Path(west).write_text(members.kubeconfig(alpha, token="not-a-token"))
    message = error(vk("join", "west", "--kubeconfig", west))
    assert "does not accept the credential" in message and "not-a-token" not in message


def test_join_rejects_a_member_that_is_being_deleted(home: Cluster, joined: Vk, west: str) -> None:
    home.patch(MEMBER_CLUSTERS, "west", {"metadata": {"finalizers": [FINALIZER]}})
    home.delete(MEMBER_CLUSTERS, "west")
    assert "is leaving" in error(joined("join", "west", "--kubeconfig", west))


def test_join_without_a_provider_names_the_command_run(vk: Vk, west: str) -> None:
    result = vk("join", "west", "--kubeconfig", west, "--timeout", "0.5")
    assert result.exit_code == 0
    assert "start one (vk-provider run)" in result.stdout.splitlines()[-1]


def test_join_with_wait_fails_without_a_provider(vk: Vk, west: str) -> None:
    assert "vk-provider run" in error(vk("join", "west", "--kubeconfig", west, "--wait", "--timeout", "0.5"))


def test_join_reports_why_the_member_is_not_ready(home: Cluster, joined: Vk, west: str) -> None:
    condition = {
        "type": "Ready",
        "status": "False",
        "reason": "Unreachable",
        "message": "no answer",
        "lastTransitionTime": "2025-01-01T00:00:00Z",
    }
    generation = home.get(MEMBER_CLUSTERS, "west")["metadata"]["generation"]
    status = {"observedGeneration": generation, "conditions": [condition]}
    home.patch(MEMBER_CLUSTERS, "west", {"status": status}, subresource="status")
    message = joined("join", "west", "--kubeconfig", west, "--timeout", "0.5").stdout
    assert "west is not ready: Unreachable: no answer" in message
