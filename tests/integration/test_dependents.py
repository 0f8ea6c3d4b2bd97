"""ConfigMaps, Secrets and tokens in the member: they exist and are current exactly while a pod references them."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import datetime
from typing import Any

import pytest

from tests.cluster import STRATEGIC, ApiFailure, Cluster, Json
from tests.members import event_reasons
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
    waiting_reason,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, SECRETS, SERVICE_ACCOUNTS

pytestmark = pytest.mark.usefixtures("provider")


def with_volumes(name: str, **sources: Any) -> Json:
    """A bare pod with a volume for each source."""
    volumes = [{"name": f"v{number}", source: value} for number, (source, value) in enumerate(sources.items())]
    return bare(name, volumes=volumes)


def test_a_config_map_is_copied_updated_and_deleted_with_its_last_pod(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "1", "b": "2"}}, namespace)
    parent.create(CONFIG_MAPS, {"metadata": {"name": "unused"}, "data": {"a": "1"}}, namespace)
    for name in ("one", "two"):
        parent.create(PODS, with_volumes(name, configMap={"name": "conf"}), namespace)
        wait_until_running(parent, name, namespace)
    assert alpha.get(CONFIG_MAPS, "conf", namespace)["data"] == {"a": "1", "b": "2"}
    assert alpha.find(CONFIG_MAPS, "unused", namespace) is None
    parent.patch(CONFIG_MAPS, "conf", {"data": {"a": "3", "b": None}}, namespace)
    eventually(lambda: alpha.get(CONFIG_MAPS, "conf", namespace)["data"] == {"a": "3"}, "the copy is updated")
    parent.delete(PODS, "one", namespace)
    wait_until_gone(parent, "one", namespace)
    assert alpha.find(CONFIG_MAPS, "conf", namespace), "the other pod needs the copy"
    parent.delete(PODS, "two", namespace)
    eventually(lambda: alpha.find(CONFIG_MAPS, "conf", namespace) is None, "the copy is deleted")


def test_a_copy_that_another_client_changes_or_deletes_in_the_member_is_restored(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "1"}}, namespace)
    parent.create(PODS, with_volumes("web", configMap={"name": "conf"}), namespace)
    wait_until_running(parent, "web", namespace)
    alpha.patch(CONFIG_MAPS, "conf", {"data": {"a": "changed", "more": "x"}}, namespace)
    eventually(lambda: alpha.get(CONFIG_MAPS, "conf", namespace)["data"] == {"a": "1"}, "the copy is restored")
    alpha.delete(CONFIG_MAPS, "conf", namespace)
    eventually(lambda: alpha.find(CONFIG_MAPS, "conf", namespace), "the copy is created again")


def test_a_secret_keeps_its_type_and_is_deleted_with_its_original(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    value = base64.b64encode(b"user:secret").decode()
    body = {"metadata": {"name": "login"}, "type": "kubernetes.io/basic-auth", "data": {"username": value}}
    parent.create(SECRETS, body, namespace)
    parent.create(PODS, with_volumes("web", secret={"secretName": "login", "optional": True}), namespace)
    wait_until_running(parent, "web", namespace)
    copy = alpha.get(SECRETS, "login", namespace)
    assert (copy["type"], copy["data"]) == ("kubernetes.io/basic-auth", {"username": value})
    parent.delete(SECRETS, "login", namespace)
    eventually(lambda: alpha.find(SECRETS, "login", namespace) is None, "the copy is deleted")
    parent.create(SECRETS, body | {"type": "Opaque"}, namespace)
    eventually(lambda: alpha.find(SECRETS, "login", namespace), "the copy is created again")


def test_an_immutable_config_map_that_is_replaced_in_the_parent_is_replaced_in_the_member(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    body = {"metadata": {"name": "conf"}, "data": {"a": "1"}, "immutable": True}
    parent.create(CONFIG_MAPS, body, namespace)
    parent.create(PODS, with_volumes("web", configMap={"name": "conf"}), namespace)
    wait_until_running(parent, "web", namespace)
    assert alpha.get(CONFIG_MAPS, "conf", namespace)["immutable"] is True
    parent.delete(CONFIG_MAPS, "conf", namespace)
    parent.create(CONFIG_MAPS, body | {"data": {"a": "2"}}, namespace)

    def replaced() -> bool:
        found = alpha.find(CONFIG_MAPS, "conf", namespace)
        assert found, "the copy does not exist"
        assert found["data"] == {"a": "2"}, found["data"]
        return True

    eventually(replaced, "the copy is replaced")


def test_a_pod_waits_for_a_mandatory_config_map(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    parent.create(PODS, with_volumes("web", configMap={"name": "later"}), namespace)
    eventually(lambda: alpha.find(PODS, "web", namespace), "the pod waits in the member")
    parent.create(CONFIG_MAPS, {"metadata": {"name": "later"}, "data": {"a": "1"}}, namespace)
    eventually(lambda: alpha.find(CONFIG_MAPS, "later", namespace), "the copy is created")


def test_a_config_map_of_another_client_with_the_same_name_is_not_changed(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    alpha.create(NAMESPACES, {"metadata": {"name": namespace}})
    foreign = alpha.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "theirs"}}, namespace)
    parent.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": "ours"}}, namespace)
    parent.create(PODS, with_volumes("web", configMap={"name": "conf"}), namespace)
    eventually(
        lambda: waiting_reason(parent.get(PODS, "web", namespace)) == wellknown.NAME_CONFLICT,
        "the parent pod has the reason",
    )
    assert alpha.get(CONFIG_MAPS, "conf", namespace) == foreign
    alpha.delete(CONFIG_MAPS, "conf", namespace)
    wait_until_running(parent, "web", namespace)
    assert alpha.get(CONFIG_MAPS, "conf", namespace)["data"] == {"a": "ours"}
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    alpha.delete(NAMESPACES, namespace)


def test_the_parent_issues_the_token_of_a_pod_and_binds_it_to_the_parent_pod(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    created = parent.create(PODS, pod("web"), namespace)
    wait_until_running(parent, "web", namespace)
    (secret,) = token_secrets(alpha, namespace)
    (token,) = (base64.b64decode(value).decode() for value in secret["data"].values())
    claims = decode(token)["kubernetes.io"]
    assert claims["pod"] == {"name": "web", "uid": created["metadata"]["uid"]}
    assert (claims["namespace"], claims["serviceaccount"]["name"]) == (namespace, "default")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    path = "/apis/authentication.k8s.io/v1/tokenreviews"
    user = f"system:serviceaccount:{namespace}:default"
    assert parent.call("POST", path, review)["status"]["user"]["username"] == user
    assert "authenticated" not in alpha.call("POST", path, review)["status"]
    volumes = alpha.get(PODS, "web", namespace)["spec"]["volumes"]
    sources = next(volume["projected"]["sources"] for volume in volumes if "projected" in volume)
    mounted = next(source["secret"] for source in sources if "secret" in source)
    assert mounted["name"] == secret["metadata"]["name"]
    authority = next(source["configMap"]["name"] for source in sources if "configMap" in source)
    mine = parent.get(CONFIG_MAPS, "kube-root-ca.crt", namespace)["data"]
    assert alpha.get(CONFIG_MAPS, authority, namespace)["data"] == mine
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    eventually(lambda: token_secrets(alpha, namespace) == [], "the token is deleted with the pod")


def test_a_token_secret_that_is_deleted_in_the_member_is_created_again(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, pod("web"), namespace)
    wait_until_running(parent, "web", namespace)
    (secret,) = token_secrets(alpha, namespace)
    alpha.delete(SECRETS, secret["metadata"]["name"], namespace)
    eventually(lambda: token_secrets(alpha, namespace), "the token is created again")


def test_a_token_has_the_requested_audience_and_lifetime_is_renewed_and_expires_with_its_pod(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    asked = {"serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 1200}}
    parent.create(PODS, with_volumes("web", projected={"sources": [asked]}), namespace)
    wait_until_running(parent, "web", namespace)
    (secret,) = token_secrets(alpha, namespace)
    first = only_token(secret)
    claims = decode(first)
    assert (claims["aud"], claims["exp"] - claims["iat"]) == (["vault"], 1200)
    times = [secret["metadata"]["annotations"][name] for name in (wellknown.TOKEN_RENEW, wellknown.TOKEN_EXPIRES)]
    renew, expires = (datetime.fromisoformat(time) for time in times)
    assert 200 <= (expires - renew).total_seconds() <= 250  # at a fifth of its lifetime
    due = {"metadata": {"annotations": {wellknown.TOKEN_RENEW: "2020-01-01T00:00:00Z"}}}
    alpha.patch(SECRETS, secret["metadata"]["name"], due, namespace)
    eventually(lambda: only_token(token_secrets(alpha, namespace)[0]) != first, "the token is renewed when it is due")
    assert is_accepted(parent, first, "vault")
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    eventually(lambda: not is_accepted(parent, first, "vault"), "the token is invalid after the pod is deleted")


def is_accepted(cluster: Cluster, token: str, audience: str) -> bool:
    spec = {"token": token, "audiences": [audience]}
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": spec}
    answer = cluster.call("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
    return bool(answer["status"].get("authenticated"))


def only_token(secret: Json) -> str:
    (value,) = secret["data"].values()
    return base64.b64decode(value).decode()


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
    eventually(lambda: alpha.find(CONFIG_MAPS, "conf", namespace) is None, "the copy is deleted")
    asked, done = (requests_of_provider(cluster, since[cluster.name], namespace) for cluster in (parent, alpha))
    # Referenced in the parent: the ConfigMap and the root CA. Watches end when no pod needs them.
    watched = {name for verb, resource, name in asked if (verb, resource) == ("watch", "configmaps")}
    assert watched <= {"conf", "kube-root-ca.crt"}
    assert asked[("create", "serviceaccounts/token", "default")] == pods
    assert [n for (verb, resource, name), n in done.items() if (verb, resource) == ("create", "configmaps")] == [1, 1]
    # Budget of a pod life: 4 requests to the parent and 2 to the member. A token adds one there, and two here.
    assert count(asked, "pods", "pods/status", "serviceaccounts/token") <= 5 * pods
    assert count(done, "pods", "secrets") <= 4 * pods


def requests_of_provider(cluster: Cluster, since: int, namespace: str) -> Counter[tuple[str, str, str]]:
    """(verb, resource, name) -> the number of such requests of the provider in the namespace."""
    found: Counter[tuple[str, str, str]] = Counter()
    for request in cluster.requests(since):
        if request.agent == "vk-provider" and request.namespace == namespace and request.stage == "ResponseComplete":
            about = f"{request.resource}/{request.subresource}" if request.subresource else request.resource
            found[(request.verb, about, request.name)] += 1
    return found


def count(found: Counter[tuple[str, str, str]], *resources: str) -> int:
    return sum(n for (_, resource, _), n in found.items() if resource in resources)


def token_secrets(cluster: Cluster, namespace: str) -> list[Json]:
    found = cluster.list(SECRETS, namespace, labels=f"{wellknown.NODE_LABEL}=alpha")
    return [secret for secret in found if wellknown.TOKEN_EXPIRES in secret["metadata"]["annotations"]]


def decode(token: str) -> Json:
    """The claims of a JWT. The API server verifies the signature."""
    payload = token.split(".")[1]
    claims: Json = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return claims


def test_a_pod_reports_a_missing_service_account_and_starts_when_it_exists_again(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    robot = {"metadata": {"name": "robot"}}
    parent.create(SERVICE_ACCOUNTS, robot, namespace)
    gates, selector = [{"name": "example.com/held"}], {wellknown.CLUSTER_LABEL: "alpha"}
    held = pod("web", nodeName=None, nodeSelector=selector, serviceAccountName="robot", schedulingGates=gates)
    parent.create(PODS, held, namespace)
    parent.delete(SERVICE_ACCOUNTS, "robot", namespace)
    parent.patch(PODS, "web", {"spec": {"schedulingGates": None}}, namespace)
    eventually(lambda: "FailedMount" in event_reasons(parent, "web", namespace), "an Event has the reason")
    eventually(
        lambda: waiting_reason(parent.get(PODS, "web", namespace)) == "ContainerCreating", "the status has the reason"
    )
    (container,) = parent.get(PODS, "web", namespace)["status"]["containerStatuses"]
    assert 'serviceaccounts "robot" not found' in container["state"]["waiting"]["message"]
    parent.create(SERVICE_ACCOUNTS, robot, namespace)
    wait_until_running(parent, "web", namespace, 60)


def test_the_status_of_a_running_pod_is_updated_although_a_new_reference_is_missing(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    parent.create(PODS, idle("web"), namespace)
    start_idle(alpha, "web", namespace)
    wait_until_running(parent, "web", namespace)
    for cluster in (alpha, parent):
        cluster.create(CONFIG_MAPS, {"metadata": {"name": "conf"}, "data": {"a": cluster.name}}, namespace)
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
