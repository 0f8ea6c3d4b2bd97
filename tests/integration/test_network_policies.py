"""NetworkPolicies of the parent in a member, on real API servers. No network plugin enforces them here."""

from __future__ import annotations

from typing import Final

import pytest

from tests.cluster import Cluster, Json
from tests.integration.reflected_services import start
from tests.members import event_reasons
from tests.waiting import eventually
from tests.workloads import bare
from vk_provider.api import wellknown
from vk_provider.kube.resources import NAMESPACES, NETWORK_POLICIES, PODS
from vk_provider.translate.dependents.namespace_labels import member_label

SELECTOR: Final = {
    "matchLabels": {"team": "a"},
    "matchExpressions": [
        {"key": "stage", "operator": "NotIn", "values": ["retired"]},
        {"key": "kubernetes.io/metadata.name", "operator": "Exists"},
        {"key": "closed", "operator": "DoesNotExist"},
    ],
}
WEB: Final[Json] = {
    "podSelector": {"matchLabels": {"app": "web"}},
    "policyTypes": ["Ingress", "Egress"],
    "ingress": [
        {"from": [{"podSelector": {}}, {"namespaceSelector": SELECTOR}], "ports": [{"port": 8080}]},
        {"from": [{"podSelector": {"matchLabels": {"topology.kubernetes.io/zone": "a"}}}]},
        {"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.7/32"]}}]},
    ],
    "egress": [{"ports": [{"port": 53, "protocol": "UDP"}]}],
}
pytestmark = pytest.mark.usefixtures("provider")


def ours(member: Cluster, namespace: str) -> list[Json]:
    return member.list(NETWORK_POLICIES, namespace, labels=wellknown.PARENT_LABEL)


def test_policies_are_in_the_member_before_the_first_pod_follow_the_parent_and_end_with_the_last_pod(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.patch(NAMESPACES, namespace, {"metadata": {"labels": {"team": "a", "other": "b"}}})
    for name, spec in (("web", WEB), ("deny-all", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})):
        parent.create(NETWORK_POLICIES, {"metadata": {"name": name}, "spec": spec}, namespace)
    position = alpha.audit_position()
    start(parent, bare("web"), namespace)
    made = [
        request.resource
        for request in alpha.requests(position)
        if (request.verb, request.namespace, request.status) == ("create", namespace, 201)
        and (request.resource, request.subresource) in (("networkpolicies", ""), ("pods", ""))
    ]
    assert made == ["networkpolicies"] * 2 + ["pods"]

    found = {each["metadata"]["annotations"][wellknown.PARENT_NAME]: each["spec"] for each in ours(alpha, namespace)}
    assert found.keys() == {"web", "deny-all"}
    assert "ingress" not in found["deny-all"]
    assert [sorted(rule) for rule in found["web"]["ingress"]] == [["from", "ports"], ["from"]]
    assert found["web"]["ingress"][1] == WEB["ingress"][2]
    assert found["web"]["egress"] == WEB["egress"]
    assert wellknown.POLICY_NARROWED in event_reasons(parent, "web", namespace)

    def labelled() -> bool:
        labels = alpha.get(NAMESPACES, namespace)["metadata"]["labels"]
        there = {key: value for key, value in labels.items() if key.startswith(wellknown.NAMESPACE_LABEL)}
        assert there == {
            member_label("team"): "a",
            member_label("stage"): wellknown.NO_LABEL,
            member_label("kubernetes.io/metadata.name"): namespace,
            member_label("closed"): wellknown.NO_LABEL,
        }
        return True

    eventually(labelled, "the member's namespace has the labels that the policy selects")
    position = alpha.audit_position()
    parent.patch(NETWORK_POLICIES, "web", {"spec": {"ingress": None}}, namespace)
    parent.delete(NETWORK_POLICIES, "deny-all", namespace)

    def followed() -> bool:
        found = [each["spec"] for each in ours(alpha, namespace)]
        assert len(found) == 1
        return "ingress" not in found[0]

    eventually(followed, "the member has the new policy only")
    writes = [
        request.verb
        for request in alpha.requests(position)
        if (request.resource, request.namespace) == ("networkpolicies", namespace) and request.verb != "list"
    ]
    assert sorted(writes) == ["delete", "patch"], "each is written once"
    parent.delete(PODS, "web", namespace)
    eventually(lambda: ours(alpha, namespace) == [], "the policies are deleted after the last pod")
