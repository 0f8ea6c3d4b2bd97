"""Service account tokens: the parent issues them, the member has them while their pod exists."""

from __future__ import annotations

import base64
from datetime import datetime

import pytest

from tests.cluster import Cluster
from tests.integration.tokens import decode, is_accepted, only_token, token_secrets
from tests.members import event_reasons
from tests.waiting import eventually
from tests.workloads import (
    pod,
    wait_until_gone,
    wait_until_running,
    waiting_reason,
    with_volumes,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import CONFIG_MAPS, PODS, SECRETS, SERVICE_ACCOUNTS

pytestmark = pytest.mark.usefixtures("provider")


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
