"""Reflections of the parent's Services, in the members that have pods of their namespace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest

from tests import members
from tests.cluster import Cluster
from tests.integration.reflected_services import (
    HTTP,
    is_ours,
    service,
    slices,
    start,
    until_away,
    until_listed,
    until_there,
    web,
)
from tests.waiting import eventually
from tests.workloads import bare, wait_until_gone
from vk_provider.api import wellknown
from vk_provider.api.membercluster import MEMBER_CLUSTERS
from vk_provider.kube.resources import ENDPOINT_SLICES, NAMESPACES, PODS, SERVICES, Resource

SERVICE_CIDRS: Final = Resource("networking.k8s.io", "v1", "servicecidrs", "ServiceCIDR", namespaced=False)
pytestmark = pytest.mark.usefixtures("provider")


def test_a_service_is_in_the_member_before_the_first_pod_of_its_namespace(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    for number in range(5):
        parent.create(SERVICES, service(f"web-{number}"), namespace)
    position = alpha.audit_position()
    start(parent, bare("client"), namespace)
    made = [
        request.resource
        for request in alpha.requests(position)
        if (request.verb, request.namespace, request.status) == ("create", namespace, 201)
        and (request.resource, request.subresource) in (("services", ""), ("pods", ""))
    ]
    assert made == ["services"] * 5 + ["pods"]


def test_a_reflection_has_ports_affinity_an_address_of_the_member_and_its_pods_as_endpoints(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    dns = {"name": "dns", "port": 53, "protocol": "UDP"}
    spec = {"type": "NodePort", "sessionAffinity": "ClientIP", "ports": [HTTP, dns]}
    original = parent.create(SERVICES, service("web", **spec), namespace)["spec"]
    address = start(parent, web("web-1"), namespace)
    found = until_there(alpha, "web", namespace)["spec"]
    assert found["type"] == "ClusterIP"
    assert found["sessionAffinityConfig"] == {"clientIP": {"timeoutSeconds": 10800}}
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in original["ports"]]
    assert found["ports"] == ports
    assert "selector" not in found
    until_listed(alpha, "web", namespace, {address})
    (listing,) = slices(alpha, "web", namespace)
    assert listing["metadata"]["labels"]["endpointslice.kubernetes.io/managed-by"] == wellknown.DOMAIN
    assert {(port["name"], port["port"], port["protocol"]) for port in listing["ports"]} == {
        ("http", 8080, "TCP"),
        ("dns", 53, "UDP"),
    }
    (endpoint,) = listing["endpoints"]
    assert endpoint["targetRef"] == {"kind": "Pod", "name": "web-1", "namespace": namespace}


def test_a_reflection_has_the_parents_address_if_the_member_has_that_range(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    ranges = parent.get(SERVICE_CIDRS, "kubernetes")["spec"]["cidrs"]
    alpha.create(SERVICE_CIDRS, {"metadata": {"name": "parent"}, "spec": {"cidrs": ranges}})

    def ready() -> bool:
        conditions = alpha.get(SERVICE_CIDRS, "parent").get("status", {}).get("conditions", ())
        return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)

    eventually(ready, "the member has the parent's range")
    try:
        original = parent.create(SERVICES, service("web"), namespace)["spec"]
        start(parent, bare("client"), namespace)
        assert until_there(alpha, "web", namespace)["spec"]["clusterIP"] == original["clusterIP"]
    finally:
        alpha.delete(SERVICE_CIDRS, "parent")


def test_a_headless_service_has_the_hostnames_of_its_pods(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    parent.create(SERVICES, service("db", clusterIP="None"), namespace)
    start(parent, web("db-0", hostname="db-0", subdomain="db"), namespace)
    assert until_there(alpha, "db", namespace)["spec"]["clusterIP"] == "None"

    def hostnames() -> list[str]:
        return [endpoint.get("hostname") for found in slices(alpha, "db", namespace) for endpoint in found["endpoints"]]

    eventually(lambda: hostnames() == ["db-0"], "the endpoint has its hostname")


def test_an_external_name_is_reflected(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    spec = {"type": "ExternalName", "externalName": "db.example.com"}
    parent.create(SERVICES, {"metadata": {"name": "db"}, "spec": spec}, namespace)
    start(parent, bare("client"), namespace)
    found = until_there(alpha, "db", namespace)["spec"]
    assert (found["type"], found["externalName"]) == ("ExternalName", "db.example.com")


def test_endpoints_of_a_service_without_a_selector_are_reflected(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(SERVICES, {"metadata": {"name": "db"}, "spec": {"ports": [HTTP]}}, namespace)
    metadata = {"name": "db-by-hand", "labels": {"kubernetes.io/service-name": "db"}}
    listing = {"addressType": "IPv4", "endpoints": [{"addresses": ["192.0.2.10"]}], "ports": [{"name": "http"}]}
    parent.create(ENDPOINT_SLICES, {"metadata": metadata, **listing}, namespace)
    start(parent, bare("client"), namespace)
    until_listed(alpha, "db", namespace, {"192.0.2.10"})


def test_a_reflection_follows_its_original(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    start(parent, web("web-1"), namespace)
    parent.create(SERVICES, service("web"), namespace)
    first = until_there(alpha, "web", namespace)
    parent.patch(SERVICES, "web", {"spec": {"ports": [HTTP | {"port": 81}], "sessionAffinity": "ClientIP"}}, namespace)

    def followed() -> bool:
        found = alpha.get(SERVICES, "web", namespace)
        assert (found["spec"]["ports"][0]["port"], found["spec"]["sessionAffinity"]) == (81, "ClientIP")
        assert found["metadata"]["uid"] == first["metadata"]["uid"]
        return True

    eventually(followed, "the same Service has the new port")
    parent.delete(SERVICES, "web", namespace)
    parent.create(SERVICES, service("web", clusterIP="None"), namespace)
    eventually(
        lambda: (alpha.find(SERVICES, "web", namespace) or {"spec": {}})["spec"].get("clusterIP") == "None",
        "the reflection is headless like the new original",
    )
    parent.delete(SERVICES, "web", namespace)
    until_away(alpha, "web", namespace)


def test_endpoints_follow_the_pods(parent: Cluster, alpha: Cluster, namespace: str) -> None:
    parent.create(SERVICES, service("web"), namespace)
    first, second = (start(parent, web(name), namespace) for name in ("web-1", "web-2"))
    until_listed(alpha, "web", namespace, {first, second})
    parent.delete(PODS, "web-1", namespace)
    until_listed(alpha, "web", namespace, {second})


def test_a_reflection_that_another_client_changes_or_deletes_is_restored(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(SERVICES, service("web"), namespace)
    address = start(parent, web("web-1"), namespace)
    until_listed(alpha, "web", namespace, {address})
    alpha.patch(SERVICES, "web", {"spec": {"selector": {"app": "other"}}}, namespace)
    eventually(lambda: "selector" not in until_there(alpha, "web", namespace)["spec"], "the selector is removed")
    eventually(lambda: all(map(is_ours, slices(alpha, "web", namespace))), "EndpointSlices of the member are removed")
    until_listed(alpha, "web", namespace, {address})
    (listing,) = slices(alpha, "web", namespace)
    alpha.patch(ENDPOINT_SLICES, listing["metadata"]["name"], {"endpoints": []}, namespace)
    until_listed(alpha, "web", namespace, {address})
    alpha.delete(ENDPOINT_SLICES, listing["metadata"]["name"], namespace)
    until_listed(alpha, "web", namespace, {address})
    alpha.delete(SERVICES, "web", namespace)
    until_there(alpha, "web", namespace)


def test_services_are_deleted_after_the_last_pod_of_their_namespace(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(SERVICES, service("web"), namespace)
    for name in ("web-1", "web-2"):
        start(parent, web(name), namespace)
    until_there(alpha, "web", namespace)
    parent.delete(PODS, "web-1", namespace)
    wait_until_gone(parent, "web-1", namespace)
    assert alpha.find(SERVICES, "web", namespace), "the other pod may need the Service"
    parent.delete(PODS, "web-2", namespace)
    until_away(alpha, "web", namespace)
    start(parent, web("web-3"), namespace)
    assert alpha.find(SERVICES, "web", namespace), "the Service exists before the next pod"


def test_a_namespace_deleted_in_the_member_is_recreated_with_its_services(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(SERVICES, service("web"), namespace)
    start(parent, web("web-1"), namespace)
    before = alpha.get(SERVICES, "web", namespace)["metadata"]["uid"], alpha.get(PODS, "web-1", namespace)
    alpha.delete(NAMESPACES, namespace)

    def back() -> bool:
        found = alpha.find(PODS, "web-1", namespace)
        assert found, "the pod does not exist"
        assert found["metadata"]["uid"] != before[1]["metadata"]["uid"], "the pod is still the old one"
        return True

    eventually(back, "the pod is recreated", 60)
    assert alpha.get(SERVICES, "web", namespace)["metadata"]["uid"] != before[0]


class TestWithTwoMembers:
    @pytest.fixture
    def join_beta(self, parent: Cluster, beta: Cluster) -> Iterator[Callable[..., None]]:
        """Joins `beta` with further fields of the spec, for one test."""

        def join(**spec: Any) -> None:
            members.join(parent, "beta", members.kubeconfig(beta), **spec)
            members.wait_until_served(parent, "beta")

        yield join
        if members.is_served(parent, "beta"):
            members.unjoin(parent, "beta")
        else:
            members.discard(parent, "beta")

    def test_a_member_lists_its_own_pods_and_a_member_with_a_flat_network_lists_all(
        self, parent: Cluster, alpha: Cluster, beta: Cluster, namespace: str, join_beta: Callable[..., None]
    ) -> None:
        join_beta(network={"flat": True})
        parent.create(SERVICES, service("web"), namespace)
        parent.create(SERVICES, service("local", internalTrafficPolicy="Local"), namespace)
        here, there = start(parent, web("web-a"), namespace), start(parent, web("web-b", "beta"), namespace)
        for name in ("web", "local"):
            until_listed(alpha, name, namespace, {here})
        until_listed(beta, "web", namespace, {here, there})
        until_listed(beta, "local", namespace, {there})
        more = start(parent, web("web-a2"), namespace)
        until_listed(beta, "web", namespace, {here, there, more})
        parent.delete(PODS, "web-a", namespace)
        until_listed(beta, "web", namespace, {there, more})
        until_listed(alpha, "web", namespace, {more})

    def test_flat_can_be_changed_while_pods_run(
        self, parent: Cluster, beta: Cluster, namespace: str, join_beta: Callable[..., None]
    ) -> None:
        join_beta()
        parent.create(SERVICES, service("web"), namespace)
        here, there = start(parent, web("web-a"), namespace), start(parent, web("web-b", "beta"), namespace)
        until_listed(beta, "web", namespace, {there})
        for flat, wanted in ((True, {here, there}), (False, {there})):
            parent.patch(MEMBER_CLUSTERS, "beta", {"spec": {"network": {"flat": flat}}})
            until_listed(beta, "web", namespace, wanted)

    def test_the_namespace_has_the_prefix_and_nothing_is_left_after_the_member_leaves(
        self, parent: Cluster, beta: Cluster, namespace: str, join_beta: Callable[..., None]
    ) -> None:
        join_beta(namespaceMapping={"prefix": "p-"})
        parent.create(SERVICES, service("web"), namespace)
        address = start(parent, web("web-b", "beta"), namespace)
        until_listed(beta, "web", f"p-{namespace}", {address})
        members.unjoin(parent, "beta")
        assert members.remains(beta, "beta") == set()
