"""Services in a member after a restart of the provider or of the member's API server."""

from __future__ import annotations

import pytest

from tests.cluster import Cluster, Json
from tests.integration.reflected_services import addresses, service, start, until_away, until_listed, web
from tests.provider import Provider
from vk_provider.kube.resources import SERVICES

pytestmark = pytest.mark.usefixtures("provider")
READS = ("get", "list", "watch")


def test_a_restarted_provider_writes_no_service_that_is_in_sync(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    kinds: dict[str, Json] = {
        "web": {},
        "port": {"type": "NodePort", "sessionAffinity": "ClientIP"},
        "db": {"clusterIP": "None", "publishNotReadyAddresses": True},
        "both": {"ipFamilyPolicy": "PreferDualStack"},
    }
    for name, spec in kinds.items():
        parent.create(SERVICES, service(name, **spec), namespace)
    external = {"type": "ExternalName", "externalName": "db.example.com"}
    parent.create(SERVICES, {"metadata": {"name": "ext"}, "spec": external}, namespace)
    address = start(parent, web("web-1"), namespace)
    for name in kinds:
        until_listed(alpha, name, namespace, {address})
    provider.kill()
    position = alpha.audit_position()
    provider.start()
    parent.create(SERVICES, service("last"), namespace)
    until_listed(alpha, "last", namespace, {address})
    written = [
        request
        for request in alpha.requests(position)
        if request.agent == "vk-provider" and request.namespace == namespace and request.verb not in READS
        if request.resource in ("services", "endpointslices") and request.status < 300
    ]
    assert [(request.verb, request.resource) for request in written] == [
        ("create", "services"),
        ("create", "endpointslices"),
    ], written


def test_services_deleted_during_an_outage_of_the_provider_are_deleted_in_the_member(
    parent: Cluster, alpha: Cluster, provider: Provider, namespace: str
) -> None:
    for name in ("web", "stays"):
        parent.create(SERVICES, service(name), namespace)
    address = start(parent, web("web-1"), namespace)
    for name in ("web", "stays"):
        until_listed(alpha, name, namespace, {address})
    provider.kill()
    parent.delete(SERVICES, "web", namespace)
    provider.start()
    until_away(alpha, "web", namespace)
    assert addresses(alpha, "stays", namespace) == {address}


def test_changes_during_an_outage_of_the_member_are_applied_when_it_answers(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(SERVICES, service("web"), namespace)
    address = start(parent, web("web-1"), namespace)
    until_listed(alpha, "web", namespace, {address})
    alpha.stop("apiserver")
    parent.delete(SERVICES, "web", namespace)
    parent.create(SERVICES, service("new"), namespace)
    alpha.start("apiserver")
    until_listed(alpha, "new", namespace, {address})
    until_away(alpha, "web", namespace)
