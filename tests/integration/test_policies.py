"""manifests/policies on a real API server: their changes to pods and DaemonSets."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests import members
from tests.cluster import Cluster, Json
from tests.kubectl import done
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import IMAGE
from vk_provider.api import wellknown
from vk_provider.kube.resources import CONFIG_MAPS, NAMESPACES, PODS, Resource

DAEMON_SETS: Final = Resource("apps", "v1", "daemonsets", "DaemonSet")
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
PARAMETERS: Final = "vk-provider-policies"
OURS: Final = {"key": "type", "operator": "NotIn", "values": ["virtual-kubelet"]}
OTHER: Final = {"key": "disk", "operator": "In", "values": ["ssd"]}
BY_NAME: Final = {"key": "metadata.name", "operator": "In", "values": ["metal"]}
WELCOME: Final = {wellknown.VIRTUAL_NODES: "allow"}


@pytest.fixture(scope="module")
def policies(parent: Cluster) -> Iterator[Cluster]:
    """The parent with the policies. They are removed afterwards."""
    done(parent, "apply", "-k", "manifests/policies")
    eventually(lambda: seconds(pod(parent, "default")) == [30, 30], "tolerationSeconds are set")
    eventually(lambda: spread(parent, {}).get("nodeTaintsPolicy") == "Honor", "taints are honoured")
    eventually(lambda: terms(daemon_set(parent, "kube-system")) == [[OURS]], "DaemonSets exclude virtual nodes")
    yield parent
    done(parent, "delete", "-k", "manifests/policies")
    eventually(
        lambda: seconds(pod(parent, "default")) == [300, 300], "tolerationSeconds are the defaults of Kubernetes"
    )
    eventually(lambda: "nodeTaintsPolicy" not in spread(parent, {}), "constraints are not changed")
    eventually(lambda: terms(daemon_set(parent, "kube-system")) == [], "DaemonSets are not changed")


class TestTolerationSeconds:
    def test_explicit_values_are_kept(self, policies: Cluster, namespace: str) -> None:
        mine = [{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 77}]
        assert seconds(pod(policies, namespace, tolerations=mine)) == [77, 30]

    def test_a_toleration_without_seconds_is_kept(self, policies: Cluster, namespace: str) -> None:
        mine = [{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"}]
        assert seconds(pod(policies, namespace, tolerations=mine)) == [None, 30]

    def test_300_seconds_for_another_taint_are_kept(self, policies: Cluster, namespace: str) -> None:
        mine = {"key": "mine", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        assert mine in pod(policies, namespace, tolerations=[mine])["spec"]["tolerations"]

    def test_a_namespace_can_override_the_value(self, policies: Cluster, namespace: str) -> None:
        annotate(policies, namespace, "5")
        eventually(lambda: seconds(pod(policies, namespace)) == [5, 5], "the annotation is used")
        annotate(policies, namespace, "0")
        eventually(lambda: seconds(pod(policies, namespace)) == [0, 0], "zero is a valid value")

    def test_an_invalid_value_of_a_namespace_keeps_the_default_of_kubernetes(
        self, policies: Cluster, namespace: str
    ) -> None:
        annotate(policies, namespace, "soon")
        eventually(lambda: seconds(pod(policies, namespace)) == [300, 300], "the pod is not rejected")

    def test_the_parameter_can_be_changed(self, policies: Cluster, namespace: str) -> None:
        parameter(policies, "45")
        eventually(lambda: seconds(pod(policies, namespace)) == [45, 45], "the ConfigMap is used")
        parameter(policies, "30")
        eventually(lambda: seconds(pod(policies, namespace)) == [30, 30], "the ConfigMap is used again")

    def test_without_the_parameters_pods_have_the_defaults_of_kubernetes(
        self, policies: Cluster, namespace: str
    ) -> None:
        whole = policies.get(CONFIG_MAPS, PARAMETERS, members.SYSTEM)
        policies.delete(CONFIG_MAPS, PARAMETERS, members.SYSTEM)
        eventually(lambda: seconds(pod(policies, namespace)) == [300, 300], "the default of Kubernetes is used")
        policies.create(CONFIG_MAPS, {"metadata": {"name": PARAMETERS}, "data": whole["data"]}, members.SYSTEM)
        eventually(lambda: seconds(pod(policies, namespace)) == [30, 30], "the parameter is used again")


class TestSpreadConstraints:
    def test_explicit_fields_of_a_constraint_are_kept(self, policies: Cluster) -> None:
        assert spread(policies, {"nodeTaintsPolicy": "Ignore"})["nodeTaintsPolicy"] == "Ignore"

    def test_each_constraint_is_changed_independently(self, policies: Cluster, namespace: str) -> None:
        both = [constraint("a", nodeTaintsPolicy="Ignore"), constraint("b")]
        made = pod(policies, namespace, topologySpreadConstraints=both)
        found = [each["nodeTaintsPolicy"] for each in made["spec"]["topologySpreadConstraints"]]
        assert found == ["Ignore", "Honor"]


class TestDaemonSets:
    @pytest.mark.parametrize(
        "affinity",
        [
            {},
            {"podAntiAffinity": {}},
            {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": {}}]}},
        ],
    )
    def test_one_without_terms_gets_the_term_of_the_policy(self, policies: Cluster, affinity: Json) -> None:
        made = daemon_set(policies, "kube-system", affinity)
        assert terms(made) == [[OURS]]
        found = made["spec"]["template"]["spec"]["affinity"]
        assert affinity.keys() <= found.keys()
        assert affinity.get("nodeAffinity", {}).keys() <= found["nodeAffinity"].keys()

    def test_every_term_gets_the_expression_and_an_empty_term_is_kept(self, policies: Cluster) -> None:
        before = required({"matchExpressions": [OTHER]}, {"matchFields": [BY_NAME]}, {})
        made = daemon_set(policies, "kube-system", before)
        assert terms(made) == [[OTHER, OURS], [OURS], []]

    def test_the_expression_is_added_once(self, policies: Cluster) -> None:
        again = daemon_set(policies, "kube-system", required({"matchExpressions": [OURS, OTHER]}))
        assert terms(again) == [[OURS, OTHER]]

    def test_other_namespaces_are_not_affected(self, policies: Cluster, namespace: str) -> None:
        assert terms(daemon_set(policies, namespace)) == []

    def test_a_namespace_can_be_labelled_as_infrastructure(self, policies: Cluster, namespace: str) -> None:
        label(policies, namespace)
        eventually(lambda: terms(daemon_set(policies, namespace)) == [[OURS]], "the label is used")

    def test_one_that_selects_virtual_nodes_is_not_changed(self, policies: Cluster) -> None:
        assert terms(daemon_set(policies, "kube-system", labels=WELCOME)) == []

    def test_one_that_selects_virtual_nodes_later_keeps_its_own_terms(self, policies: Cluster) -> None:
        alone = daemon_set(policies, "kube-system", required({"matchExpressions": [OURS]}), labels=WELCOME)
        assert terms(alone) == []
        both = required({"matchExpressions": [OTHER, OURS]}, {"matchFields": [BY_NAME], "matchExpressions": [OURS]})
        assert terms(daemon_set(policies, "kube-system", both, labels=WELCOME)) == [[OTHER], []]

    def test_no_pod_is_created_on_a_virtual_node_until_the_daemon_set_selects_it(
        self, policies: Cluster, provider: Provider, namespace: str
    ) -> None:
        label(policies, namespace)
        eventually(lambda: terms(daemon_set(policies, namespace)) == [[OURS]], "the label is used")
        policies.create(DAEMON_SETS, manifest(), namespace)
        eventually(lambda: counted(policies, namespace, 1) == 0, "the DaemonSet wants no pod on the virtual node")
        policies.patch(DAEMON_SETS, "agent", {"metadata": {"labels": WELCOME}}, namespace)
        eventually(lambda: counted(policies, namespace, 2) == 1, "the DaemonSet wants a pod on the virtual node")


def tried(cluster: Cluster, resource: Resource, body: Json, namespace: str) -> Json:
    """The object that a create would store (dry run)."""
    whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    made: Json = cluster.call("POST", resource.path(namespace=namespace), whole, query={"dryRun": "All"})
    return made


def pod(cluster: Cluster, namespace: str, **spec: Any) -> Json:
    body = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": IMAGE}], **spec}}
    return tried(cluster, PODS, body, namespace)


def seconds(made: Json) -> list[int | None]:
    """The tolerationSeconds for not-ready and for unreachable."""
    found = {each.get("key"): each.get("tolerationSeconds") for each in made["spec"]["tolerations"]}
    return [found[NOT_READY], found[UNREACHABLE]]


def constraint(key: str, **more: Any) -> Json:
    selector = {"matchLabels": {"app": "web"}}
    return {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector, **more}


def spread(cluster: Cluster, more: Json) -> Json:
    """The constraint after admission."""
    made = pod(cluster, "default", topologySpreadConstraints=[constraint("zone", **more)])
    (found,) = made["spec"]["topologySpreadConstraints"]
    return dict(found)


def required(*found: Json) -> Json:
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": list(found)}}}


def manifest(affinity: Json | None = None, labels: Json | None = None) -> Json:
    spec = {"containers": [{"name": "c", "image": IMAGE}]} | ({} if affinity is None else {"affinity": affinity})
    template = {"metadata": {"labels": {"app": "agent"}}, "spec": spec}
    return {
        "metadata": {"name": "agent", "labels": labels or {}},
        "spec": {"selector": {"matchLabels": {"app": "agent"}}, "template": template},
    }


def daemon_set(cluster: Cluster, namespace: str, affinity: Json | None = None, *, labels: Json | None = None) -> Json:
    return tried(cluster, DAEMON_SETS, manifest(affinity, labels), namespace)


def terms(made: Json) -> list[list[Json]]:
    """The expressions of each required node selector term."""
    node = made["spec"]["template"]["spec"].get("affinity", {}).get("nodeAffinity", {})
    found = node.get("requiredDuringSchedulingIgnoredDuringExecution", {}).get("nodeSelectorTerms", [])
    return [each.get("matchExpressions", []) for each in found]


def counted(cluster: Cluster, namespace: str, generation: int) -> int | None:
    """The desired number of pods of the DaemonSet, once its controller has observed this generation."""
    status = cluster.get(DAEMON_SETS, "agent", namespace)["status"]
    return status["desiredNumberScheduled"] if status.get("observedGeneration", 0) >= generation else None


def annotate(cluster: Cluster, namespace: str, value: str) -> None:
    note = {wellknown.TOLERATION_SECONDS: value}
    cluster.patch(NAMESPACES, namespace, {"metadata": {"annotations": note}})


def label(cluster: Cluster, namespace: str) -> None:
    cluster.patch(NAMESPACES, namespace, {"metadata": {"labels": {wellknown.INFRASTRUCTURE: "true"}}})


def parameter(cluster: Cluster, value: str) -> None:
    cluster.patch(CONFIG_MAPS, PARAMETERS, {"data": {"tolerationSeconds": value}}, members.SYSTEM)
