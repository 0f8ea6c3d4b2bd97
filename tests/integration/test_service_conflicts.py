"""Services that a member already has or rejects."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import Cluster, Json
from tests.integration.reflected_services import is_ours, service, slices, start, until_there, web
from tests.waiting import eventually
from tests.workloads import bare
from vk_provider.api import wellknown
from vk_provider.kube.resources import EVENTS, NAMESPACES, PODS, SERVICES, Resource

pytestmark = pytest.mark.usefixtures("provider")

QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")


def events(parent: Cluster, name: str, namespace: str, reason: str) -> list[Json]:
    """The Events about a Service with this reason."""
    found = parent.list(EVENTS, namespace, fields=f"involvedObject.kind=Service,involvedObject.name={name}")
    return [event for event in found if event["reason"] == reason]


@pytest.fixture
def foreign(alpha: Cluster, namespace: str) -> Iterator[Json]:
    """A Service `web` of another client in the member."""
    alpha.create(NAMESPACES, {"metadata": {"name": namespace}})
    yield alpha.create(SERVICES, service("web"), namespace)
    alpha.delete(NAMESPACES, namespace)


def test_a_service_of_another_client_keeps_its_name_and_the_conflict_is_reported_once(
    parent: Cluster, alpha: Cluster, namespace: str, foreign: Json
) -> None:
    parent.create(SERVICES, service("web"), namespace)
    start(parent, web("web-1"), namespace)
    (event,) = eventually(
        lambda: events(parent, "web", namespace, wellknown.NAME_CONFLICT), "the parent's Service has an Event"
    )
    assert f"Service {namespace}/web that is not managed by virtual node alpha" in event["message"]
    parent.patch(SERVICES, "web", {"spec": {"sessionAffinity": "ClientIP"}}, namespace)
    start(parent, web("web-2"), namespace)
    parent.create(SERVICES, service("after"), namespace)
    until_there(alpha, "after", namespace)
    assert len(events(parent, "web", namespace, wellknown.NAME_CONFLICT)) == 1
    assert alpha.get(SERVICES, "web", namespace) == foreign
    ours = {found["metadata"]["name"] for found in slices(alpha, "web", namespace) if is_ours(found)}
    assert ours == set(), "no endpoints are added to the Service of another client"
    alpha.delete(SERVICES, "web", namespace)
    eventually(
        lambda: is_ours(alpha.find(SERVICES, "web", namespace) or {}),
        "the reflection is created once the name is free",
        90,
    )


def test_a_service_that_the_member_rejects_is_reported_and_delays_no_pod(
    parent: Cluster, alpha: Cluster, namespace: str, request: pytest.FixtureRequest
) -> None:
    alpha.create(NAMESPACES, {"metadata": {"name": namespace}})
    request.addfinalizer(lambda: alpha.delete(NAMESPACES, namespace))
    alpha.create(QUOTAS, {"metadata": {"name": "none"}, "spec": {"hard": {"services": "0"}}}, namespace)
    eventually(lambda: "hard" in alpha.get(QUOTAS, "none", namespace)["status"], "the quota is in force")
    parent.create(SERVICES, service("web"), namespace)
    start(parent, web("web-1"), namespace)
    (event,) = eventually(
        lambda: events(parent, "web", namespace, wellknown.MEMBER_REFUSED), "the parent's Service has an Event"
    )
    assert "exceeded quota" in event["message"]
    alpha.delete(QUOTAS, "none", namespace)
    until_there(alpha, "web", namespace, 60)


def test_the_service_kubernetes_of_each_cluster_is_no_conflict(
    parent: Cluster, alpha: Cluster, request: pytest.FixtureRequest
) -> None:
    before = alpha.get(SERVICES, "kubernetes", "default")
    request.addfinalizer(lambda: parent.delete(PODS, "api-client", "default"))
    start(parent, bare("api-client"), "default")
    request.addfinalizer(lambda: parent.delete(SERVICES, "sentinel", "default"))
    parent.create(SERVICES, service("sentinel"), "default")
    until_there(alpha, "sentinel", "default")
    assert events(parent, "kubernetes", "default", wellknown.NAME_CONFLICT) == []
    assert alpha.get(SERVICES, "kubernetes", "default") == before
    assert not [found for found in slices(alpha, "kubernetes", "default") if is_ours(found)]
