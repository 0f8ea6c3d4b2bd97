"""The translation of pods and statuses, where it depends on a real API server."""

from __future__ import annotations

import pytest

from tests.cluster import Cluster, Json
from tests.provider import Provider
from tests.waiting import eventually
from tests.workloads import (
    bare,
    idle,
    phase,
    pod,
    running_pods,
    start_idle,
    wait_until_gone,
    wait_until_running,
)
from vk_provider.api import wellknown
from vk_provider.kube.resources import EVENTS, NAMESPACES, PODS, Resource

pytestmark = pytest.mark.usefixtures("provider")

REPLICA_SETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
IMAGE = "registry.example/web:2"


def labelled(name: str, **spec: object) -> Json:
    manifest = bare(name, **spec)
    manifest["metadata"]["labels"] = {"app": "web"}
    return manifest


def events(cluster: Cluster, name: str, namespace: str, reason: str) -> list[Json]:
    return cluster.list(EVENTS, namespace, fields=f"involvedObject.name={name},reason={reason}")


def test_a_replica_set_of_the_member_does_not_adopt_a_member_pod_that_matches_its_selector(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, labelled("web"), namespace)
    wait_until_running(parent, "web", namespace)
    uid = alpha.get(PODS, "web", namespace)["metadata"]["uid"]
    template = labelled("web") | {"spec": {"containers": [{"name": "web", "image": IMAGE}]}}
    body = {"replicas": 1, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    alpha.create(REPLICA_SETS, {"metadata": {"name": "theirs"}, "spec": body}, namespace)
    eventually(lambda: running_pods(alpha, namespace).keys() - {"web"}, "the ReplicaSet has created its own pod")
    assert alpha.get(PODS, "web", namespace)["metadata"]["uid"] == uid
    alpha.delete(REPLICA_SETS, "theirs", namespace)
    eventually(
        lambda: running_pods(alpha, namespace).keys() == {"web"},
        "its pods are deleted with it, and the member pod stays",
    )


def test_a_pod_in_a_namespace_of_the_member_is_controlled_by_that_namespace(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    theirs = alpha.create(NAMESPACES, {"metadata": {"name": namespace}})["metadata"]["uid"]
    eventually(lambda: parent.ensure(PODS, bare("web"), namespace), "the pod is created")
    wait_until_running(parent, "web", namespace)
    (owner,) = alpha.get(PODS, "web", namespace)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Namespace", theirs, True)
    parent.delete(PODS, "web", namespace)
    wait_until_gone(parent, "web", namespace)
    alpha.delete(NAMESPACES, namespace)


def test_fields_that_are_not_honoured_are_reported_in_one_event(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    terms = [{"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "web"}}}]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data-0"}}]
    parent.create(PODS, bare("web", affinity={"podAntiAffinity": required}, volumes=volumes), namespace)
    (event,) = eventually(lambda: events(parent, "web", namespace, wellknown.NOT_HONOURED), "an Event names the fields")
    assert "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution: " in event["message"]
    assert "spec.volumes[data].persistentVolumeClaim: " in event["message"]


def test_a_repeated_event_of_the_member_is_one_event_with_a_count(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    parent.create(PODS, bare("web"), namespace)
    wait_until_running(parent, "web", namespace)
    member = alpha.get(PODS, "web", namespace)["metadata"]
    about = {"apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": namespace, "uid": member["uid"]}
    times = {"firstTimestamp": "2030-01-01T00:00:00Z", "lastTimestamp": "2030-01-01T00:00:00Z"}
    body = {
        "metadata": {"name": "web.again"},
        "involvedObject": about | {"fieldPath": "spec.containers{web}"},
        "type": "Warning",
        "reason": "BackOff",
        "message": f"Back-off restarting failed container web in pod web_{namespace}({member['uid']})",
        "source": {"component": "kubelet", "host": "alpha-1"},
        "count": 1,
        **times,
    }
    alpha.create(EVENTS, body, namespace)
    eventually(lambda: events(parent, "web", namespace, "BackOff"), "the Event is in the parent")
    for count in (2, 3):
        change = {"count": count, "lastTimestamp": f"2030-01-01T00:00:0{count}Z"}
        alpha.patch(EVENTS, "web.again", change, namespace)

    def counted() -> Json:
        (event,) = events(parent, "web", namespace, "BackOff")
        assert event["count"] == 3, event
        return event

    event = eventually(counted, "the count is updated")
    assert event["source"] == {"component": "kubelet", "host": "alpha"}
    assert event["message"].endswith(f" in pod web_{namespace}({event['involvedObject']['uid']})")
    assert event["involvedObject"]["fieldPath"] == "spec.containers{web}"
    assert (event["firstTimestamp"], event["lastTimestamp"]) == ("2030-01-01T00:00:00Z", "2030-01-01T00:00:03Z")


def test_a_member_pod_that_must_not_restart_is_not_recreated_if_it_is_deleted_at_once(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json
) -> None:
    since = alpha.audit_position()
    parent.create(PODS, idle("once", restartPolicy="Never"), namespace)
    eventually(lambda: alpha.find(PODS, "once", namespace), "the member pod exists")
    alpha.delete(PODS, "once", namespace, grace_seconds=0)
    eventually(lambda: phase(parent, "once", namespace) == "Failed", "the pod is Failed")
    assert parent.get(PODS, "once", namespace)["status"]["reason"] == wellknown.MEMBER_POD_LOST
    created = [
        request
        for request in alpha.requests(since)
        if (request.verb, request.resource, request.namespace, request.stage)
        == ("create", "pods", namespace, "ResponseComplete")
        and not request.subresource
        and request.status == 201
    ]
    assert len(created) == 1


def test_an_image_that_the_member_rewrites_is_kept_until_the_parent_changes_it(
    parent: Cluster, alpha: Cluster, namespace: str, idle_node: Json, provider: Provider
) -> None:
    parent.create(PODS, idle("web"), namespace)
    start_idle(alpha, "web", namespace)
    wait_until_running(parent, "web", namespace)
    mirrored = {"spec": {"containers": [{"name": "web", "image": "mirror.example/web:1"}]}}
    alpha.patch(PODS, "web", mirrored, namespace, content_type="application/strategic-merge-patch+json")
    provider.stop()
    provider.start()
    parent.patch(PODS, "web", {"metadata": {"labels": {"seen": "yes"}}}, namespace)

    def image(label: str) -> str:
        found = alpha.get(PODS, "web", namespace)
        assert found["metadata"]["labels"].get("seen") == label, "the label is not there yet"
        return str(found["spec"]["containers"][0]["image"])

    assert eventually(lambda: image("yes"), "the label is updated") == "mirror.example/web:1"
    changed = {"spec": {"containers": [{"name": "web", "image": IMAGE}]}}
    parent.patch(PODS, "web", changed, namespace, content_type="application/strategic-merge-patch+json")
    eventually(lambda: image("yes") == IMAGE, "the parent's new image is applied")


def test_a_downward_api_file_with_labels_follows_the_parent_pod(
    parent: Cluster, alpha: Cluster, namespace: str
) -> None:
    items = [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
    manifest = bare("web", volumes=[{"name": "info", "downwardAPI": {"items": items}}])
    manifest["metadata"]["labels"] = {"app": "web"}
    parent.create(PODS, manifest, namespace)
    wait_until_running(parent, "web", namespace)

    def shown() -> str:
        return str(alpha.get(PODS, "web", namespace)["metadata"]["annotations"][wellknown.PARENT_LABELS])

    eventually(lambda: 'app="web"' in shown().splitlines(), "the file has the label")
    parent.patch(PODS, "web", {"metadata": {"labels": {"app": "shop"}}}, namespace)
    eventually(lambda: 'app="shop"' in shown().splitlines(), "the file is updated")
    assert wellknown.DOMAIN not in shown()


def test_a_pod_that_is_created_with_a_node_name_has_the_condition_pod_scheduled(
    parent: Cluster, namespace: str
) -> None:
    parent.create(PODS, pod("web"), namespace)
    shown = wait_until_running(parent, "web", namespace)
    conditions = {condition["type"]: condition["status"] for condition in shown["status"]["conditions"]}
    assert conditions["PodScheduled"] == "True"
