"""ConfigMaps and Secrets in the member: they exist and are current exactly while a pod references them."""

from __future__ import annotations

import base64

import pytest

from tests.cluster import STRATEGIC, ApiFailure, Cluster, Json
from tests.integration.tokens import count, requests_of_provider, token_secrets
from tests.waiting import eventually
from tests.workloads import (
    IMAGE,
    bare,
    idle,
    pod,
    restart_count,
    running_pods,
    set_status,
    start_idle,
    wait_until_gone,
    wait_until_running,
    with_volumes,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, Resource

pytestmark = pytest.mark.usefixtures("provider")


def test_a_config_map_is_copied_updated_and_deleted_with_its_last_pod(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "1", "b": "2"}}, namespace)
    parent.create(CONFIG_MAPS, {"metadata": {"name": "unused"}, "data": {"a": "1"}}, namespace)
    for name in ("one", "two"):
        parent.create(PODS, with_volumes(name, configMap={"name": "conf"}), namespace)
        wait_until_running(parent, name, namespace)
    assert copy(alpha, CONFIG_MAPS, "conf", namespace)["data"] == {"a": "1", "b": "2"}
    assert find_copy(alpha, CONFIG_MAPS, "unused", namespace) is None
    parent.patch(CONFIG_MAPS, "conf", {"data": {"a": "3", "b": None}}, namespace)
    eventually(lambda: copy(alpha, CONFIG_MAPS, "conf", namespace)["data"] == {"a": "3"}, "the copy is updated")
    parent.delete(PODS, "one", namespace)
    wait_until_gone(parent, "one", namespace)
    assert find_copy(alpha, CONFIG_MAPS, "conf", namespace), "the other pod needs the copy"
    parent.delete(PODS, "two", namespace)
    eventually(lambda: find_copy(alpha, CONFIG_MAPS, "conf", namespace) is None, "the copy is deleted")


def test_a_copy_that_another_client_changes_or_deletes_in_the_member_is_restored(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "1"}}, namespace)
    parent.create(PODS, with_volumes("web", configMap={"name": "conf"}), namespace)
    wait_until_running(parent, "web", namespace)
    name = copy(alpha, CONFIG_MAPS, "conf", namespace)["metadata"]["name"]
    alpha.patch(CONFIG_MAPS, name, {"data": {"a": "changed", "more": "x"}}, namespace)
    eventually(lambda: copy(alpha, CONFIG_MAPS, "conf", namespace)["data"] == {"a": "1"}, "the copy is restored")
    alpha.delete(CONFIG_MAPS, name, namespace)
    eventually(lambda: find_copy(alpha, CONFIG_MAPS, "conf", namespace), "the copy is created again")


def test_a_secret_keeps_its_type_and_is_deleted_with_its_original(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    value = base64.b64encode(b"user:secret").decode()
    body = {"metadata": {"name": "login"}, "type": "kubernetes.io/basic-auth", "data": {"username": value}}
    parent.create(SECRETS, body, namespace)
    parent.create(PODS, with_volumes("web", secret={"secretName": "login", "optional": True}), namespace)
    wait_until_running(parent, "web", namespace)
    made = copy(alpha, SECRETS, "login", namespace)
    assert (made["type"], made["data"]) == ("kubernetes.io/basic-auth", {"username": value})
    parent.delete(SECRETS, "login", namespace)
    eventually(lambda: find_copy(alpha, SECRETS, "login", namespace) is None, "the copy is deleted")
    parent.create(SECRETS, body | {"type": "Opaque"}, namespace)
    eventually(lambda: find_copy(alpha, SECRETS, "login", namespace), "the copy is created again")


def test_an_immutable_config_map_that_is_replaced_in_the_parent_is_replaced_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    body = {"metadata": {"name": "conf"}, "data": {"a": "1"}, "immutable": True}
    parent.create(CONFIG_MAPS, body, namespace)
    parent.create(PODS, with_volumes("web", configMap={"name": "conf"}), namespace)
    wait_until_running(parent, "web", namespace)
    assert copy(alpha, CONFIG_MAPS, "conf", namespace)["immutable"] is True
    parent.delete(CONFIG_MAPS, "conf", namespace)
    parent.create(CONFIG_MAPS, body | {"data": {"a": "2"}}, namespace)

    def replaced() -> bool:
        found = find_copy(alpha, CONFIG_MAPS, "conf", namespace)
        assert found, "the copy does not exist"
        assert found["data"] == {"a": "2"}, found["data"]
        return True

    eventually(replaced, "the copy is replaced")


def test_a_pod_waits_for_a_mandatory_config_map(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    parent.create(PODS, with_volumes("web", configMap={"name": "later"}), namespace)
    eventually(lambda: alpha.find(PODS, "web", namespace), "the pod waits in the member")
    parent.create(CONFIG_MAPS, {"metadata": {"name": "later"}, "data": {"a": "1"}}, namespace)
    eventually(lambda: find_copy(alpha, CONFIG_MAPS, "later", namespace), "the copy is created")


def test_a_config_map_of_the_member_is_neither_used_nor_changed(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    alpha.create(NAMESPACES, {"metadata": {"name": namespace}})
    foreign = alpha.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "theirs"}}, namespace)
    parent.create(PODS, with_volumes("web", configMap={"name": "conf", "optional": True}), namespace)
    wait_until_running(parent, "web", namespace)
    (volume,) = alpha.get(PODS, "web", namespace)["spec"]["volumes"]
    assert volume["configMap"]["name"] != "conf"
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "ours"}}, namespace)
    eventually(lambda: find_copy(alpha, CONFIG_MAPS, "conf", namespace), "the copy is created")
    assert copy(alpha, CONFIG_MAPS, "conf", namespace)["data"] == {"a": "ours"}
    assert alpha.get(CONFIG_MAPS, "conf", namespace) == foreign
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    alpha.delete(NAMESPACES, namespace)


def test_a_member_gets_no_objects_that_the_pod_does_not_reference(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(SECRETS, {"metadata": {"name": "other"}, "data": {"a": ""}}, namespace)
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    ours = {"labelSelector": f"{wellknown.NODE_LABEL}=alpha"}
    for kind in ("secrets", "configmaps"):
        assert alpha.call("GET", f"/api/v1/namespaces/{namespace}/{kind}", query=ours)["items"] == []
    with pytest.raises(ApiFailure, match="404"):
        alpha.get(SECRETS, "other", namespace)


def test_a_config_map_of_a_hundred_pods_is_read_and_copied_once_and_each_token_is_one_secret(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    pods = 100
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "1"}}, namespace)
    since = {cluster.name: cluster.audit_position() for cluster in (parent, alpha)}
    volumes = [{"name": "conf", "configMap": {"name": "conf"}}]
    for number in range(pods):
        parent.create(PODS, pod(f"web-{number}", volumes=volumes), namespace)
    eventually(lambda: len(running_pods(parent, namespace)) == pods, "all pods run", 120)
    parent.call("DELETE", PODS.path(namespace=namespace))
    eventually(lambda: parent.list(PODS, namespace) == [], "all pods are deleted", 120)
    eventually(lambda: token_secrets(alpha, namespace) == [], "the tokens are deleted")
    eventually(lambda: find_copy(alpha, CONFIG_MAPS, "conf", namespace) is None, "the copy is deleted")
    asked, done = (requests_of_provider(cluster, since[cluster.name], namespace) for cluster in (parent, alpha))
    # Referenced in the parent: the ConfigMap and the root CA. Watches end when no pod needs them.
    watched = {name for verb, resource, name in asked if (verb, resource) == ("watch", "configmaps")}
    assert watched <= {"conf", "kube-root-ca.crt"}
    assert asked[("create", "serviceaccounts/token", "default")] == pods
    assert [n for (verb, resource, name), n in done.items() if (verb, resource) == ("create", "configmaps")] == [1, 1]
    # Budget of a pod life: 4 requests to the parent and 2 to the member. A token adds one there, and two here.
    assert count(asked, "pods", "pods/status", "serviceaccounts/token") <= 5 * pods
    assert count(done, "pods", "secrets") <= 4 * pods


def test_the_status_of_a_running_pod_is_updated_although_a_new_reference_is_missing(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("web"), namespace)
    start_idle(alpha, "web", namespace)
    wait_until_running(parent, "web", namespace)
    name = f"conf.{parent.get(NAMESPACES, 'kube-system')['metadata']['uid']}"
    alpha.create(CONFIG_MAPS, {"metadata": {"name": name}, "data": {"a": "taken"}}, namespace)
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "ours"}}, namespace)
    debugger = {"name": "debug", "image": IMAGE, "envFrom": [{"configMapRef": {"name": "conf"}}]}
    patch = {"spec": {"ephemeralContainers": [debugger]}}
    parent.patch(PODS, "web", patch, namespace, subresource="ephemeralcontainers", content_type=STRATEGIC)
    eventually(
        lambda: parent.get(PODS, "web", namespace)["spec"].get("ephemeralContainers"),
        "the pod has an ephemeral container",
    )
    running = alpha.get(PODS, "web", namespace)["status"]["containerStatuses"][0]
    set_status(alpha, "web", namespace, containerStatuses=[running | {"restartCount": 7}])
    eventually(lambda: restart_count(parent.get(PODS, "web", namespace)) == 7, "the restarts are shown")


def find_copy(cluster: Cluster, resource: Resource, name: str, namespace: str) -> Json | None:
    """The copy of the parent's object of that name."""
    found = cluster.list(resource, namespace, labels=f"{wellknown.NODE_LABEL}=alpha")
    return next((one for one in found if one["metadata"]["annotations"].get(wellknown.PARENT_NAME) == name), None)


def copy(cluster: Cluster, resource: Resource, name: str, namespace: str) -> Json:
    found = find_copy(cluster, resource, name, namespace)
    assert found, f"no copy of {name}"
    return found
