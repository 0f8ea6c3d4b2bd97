"""manifests/policies, applied to a real API server: what comes out of it for pods and DaemonSets that go in."""

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
    """The parent with the policies in effect; without them again afterwards."""
    done(parent, "apply", "-k", "manifests/policies")
    eventually(lambda: seconds(pod(parent, "default")) == [30, 30], "tolerationSeconds are set")
    eventually(lambda: spread(parent, {}).get("nodeTaintsPolicy") == "Honor", "taints are honoured")
    eventually(lambda: terms(daemon_set(parent, "kube-system")) == [[OURS]], "DaemonSets are kept off")
    yield parent
    done(parent, "delete", "-k", "manifests/policies")
    eventually(lambda: seconds(pod(parent, "default")) == [300, 300], "tolerationSeconds are Kubernetes' own again")
    eventually(lambda: "nodeTaintsPolicy" not in spread(parent, {}), "constraints stay as they are")
    eventually(lambda: terms(daemon_set(parent, "kube-system")) == [], "DaemonSets stay as they are")


class TestTolerationSeconds:
    def test_explicit_values_stay(self, policies: Cluster, namespace: str) -> None:
        mine = [{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 77}]
        assert seconds(pod(policies, namespace, tolerations=mine)) == [77, 30]

    def test_a_toleration_without_end_stays(self, policies: Cluster, namespace: str) -> None:
        mine = [{"key": NOT_READY, "operator": "Exists", "effect": "NoExecute"}]
        assert seconds(pod(policies, namespace, tolerations=mine)) == [None, 30]

    def test_300_seconds_for_another_taint_stay(self, policies: Cluster, namespace: str) -> None:
        mine = {"key": "mine", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}
        assert mine in pod(policies, namespace, tolerations=[mine])["spec"]["tolerations"]

    def test_a_namespace_has_its_own(self, policies: Cluster, namespace: str) -> None:
        annotate(policies, namespace, "5")
        eventually(lambda: seconds(pod(policies, namespace)) == [5, 5], "the annotation counts")
        annotate(policies, namespace, "0")
        eventually(lambda: seconds(pod(policies, namespace)) == [0, 0], "zero is a number too")

    def test_a_namespace_whose_value_is_none_keeps_kubernetes_own(self, policies: Cluster, namespace: str) -> None:
        annotate(policies, namespace, "soon")
        eventually(lambda: seconds(pod(policies, namespace)) == [300, 300], "no pod is refused for it")

    def test_the_parameter_can_be_changed(self, policies: Cluster, namespace: str) -> None:
        parameter(policies, "45")
        eventually(lambda: seconds(pod(policies, namespace)) == [45, 45], "the ConfigMap counts")
        parameter(policies, "30")
        eventually(lambda: seconds(pod(policies, namespace)) == [30, 30], "and counts again")

    def test_without_the_parameters_pods_are_made_as_ever(self, policies: Cluster, namespace: str) -> None:
        whole = policies.get(CONFIG_MAPS, PARAMETERS, members.SYSTEM)
        policies.delete(CONFIG_MAPS, PARAMETERS, members.SYSTEM)
        eventually(lambda: seconds(pod(policies, namespace)) == [300, 300], "Kubernetes' own default counts")
        policies.create(CONFIG_MAPS, {"metadata": {"name": PARAMETERS}, "data": whole["data"]}, members.SYSTEM)
        eventually(lambda: seconds(pod(policies, namespace)) == [30, 30], "and the parameter again")


class TestSpreadConstraints:
    def test_what_a_constraint_says_stays(self, policies: Cluster) -> None:
        assert spread(policies, {"nodeTaintsPolicy": "Ignore"})["nodeTaintsPolicy"] == "Ignore"

    def test_each_constraint_counts_for_itself(self, policies: Cluster, namespace: str) -> None:
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
    def test_one_without_terms_gets_the_only_one(self, policies: Cluster, affinity: Json) -> None:
        made = daemon_set(policies, "kube-system", affinity)
        assert terms(made) == [[OURS]]
        found = made["spec"]["template"]["spec"]["affinity"]
        assert affinity.keys() <= found.keys()
        assert affinity.get("nodeAffinity", {}).keys() <= found["nodeAffinity"].keys()

    def test_every_term_says_it_and_one_that_nothing_matches_stays(self, policies: Cluster) -> None:
        before = required({"matchExpressions": [OTHER]}, {"matchFields": [BY_NAME]}, {})
        made = daemon_set(policies, "kube-system", before)
        assert terms(made) == [[OTHER, OURS], [OURS], []]

    def test_it_is_said_once(self, policies: Cluster) -> None:
        again = daemon_set(policies, "kube-system", required({"matchExpressions": [OURS, OTHER]}))
        assert terms(again) == [[OURS, OTHER]]

    def test_other_namespaces_are_spared(self, policies: Cluster, namespace: str) -> None:
        assert terms(daemon_set(policies, namespace)) == []

    def test_a_namespace_can_be_labelled_as_infrastructure(self, policies: Cluster, namespace: str) -> None:
        label(policies, namespace)
        eventually(lambda: terms(daemon_set(policies, namespace)) == [[OURS]], "the label counts")

    def test_one_that_asks_for_virtual_nodes_is_let_in(self, policies: Cluster) -> None:
        assert terms(daemon_set(policies, "kube-system", labels=WELCOME)) == []

    def test_one_that_asks_later_is_let_in_and_keeps_its_own_terms(self, policies: Cluster) -> None:
        alone = daemon_set(policies, "kube-system", required({"matchExpressions": [OURS]}), labels=WELCOME)
        assert terms(alone) == []
        beside = required({"matchExpressions": [OTHER, OURS]}, {"matchFields": [BY_NAME], "matchExpressions": [OURS]})
        assert terms(daemon_set(policies, "kube-system", beside, labels=WELCOME)) == [[OTHER], []]

    def test_no_pod_is_made_on_a_virtual_node_until_it_is_welcome(
        self, policies: Cluster, provider: Provider, namespace: str
    ) -> None:
        label(policies, namespace)
        eventually(lambda: terms(daemon_set(policies, namespace)) == [[OURS]], "the label counts")
        policies.create(DAEMON_SETS, manifest(), namespace)
        eventually(lambda: counted(policies, namespace, 1) == 0, "it wants no pod on the virtual node")
        policies.patch(DAEMON_SETS, "agent", {"metadata": {"labels": WELCOME}}, namespace)
        eventually(lambda: counted(policies, namespace, 2) == 1, "it wants one there")


def tried(cluster: Cluster, resource: Resource, body: Json, namespace: str) -> Json:
    """The object as it would be created."""
    whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
    made: Json = cluster.call("POST", resource.path(namespace=namespace), whole, query={"dryRun": "All"})
    return made


def pod(cluster: Cluster, namespace: str, **spec: Any) -> Json:
    body = {"metadata": {"name": "probe"}, "spec": {"containers": [{"name": "c", "image": IMAGE}], **spec}}
    return tried(cluster, PODS, body, namespace)


def seconds(made: Json) -> list[int | None]:
    """For not-ready and for unreachable."""
    found = {each.get("key"): each.get("tolerationSeconds") for each in made["spec"]["tolerations"]}
    return [found[NOT_READY], found[UNREACHABLE]]


def constraint(key: str, **more: Any) -> Json:
    selector = {"matchLabels": {"app": "web"}}
    return {"topologyKey": key, "maxSkew": 1, "whenUnsatisfiable": "DoNotSchedule", "labelSelector": selector, **more}


def spread(cluster: Cluster, more: Json) -> Json:
    """The constraint that comes out."""
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
    """How many pods the DaemonSet wants, once its controller has seen this generation of it."""
    status = cluster.get(DAEMON_SETS, "agent", namespace)["status"]
    return status["desiredNumberScheduled"] if status.get("observedGeneration", 0) >= generation else None


def annotate(cluster: Cluster, namespace: str, value: str) -> None:
    note = {wellknown.TOLERATION_SECONDS: value}
    cluster.patch(NAMESPACES, namespace, {"metadata": {"annotations": note}})


def label(cluster: Cluster, namespace: str) -> None:
    cluster.patch(NAMESPACES, namespace, {"metadata": {"labels": {wellknown.INFRASTRUCTURE: "true"}}})


def parameter(cluster: Cluster, value: str) -> None:
    cluster.patch(CONFIG_MAPS, PARAMETERS, {"data": {"tolerationSeconds": value}}, members.SYSTEM)
