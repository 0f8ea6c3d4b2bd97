"""Pods with real containers, and actions of users and of clients of the member."""

from __future__ import annotations

import json
import signal
from typing import Any

import pytest
from demo.scenes import IMAGE
from demo.world import World

BUSYBOX = "busybox:1.36"


def manifest(name: str, script: str, member: str = "alpha", **spec: Any) -> str:
    """A pod of one busybox container, pinned to a member."""
    container = {
        "name": "main",
        "image": BUSYBOX,
        "command": ["sh", "-c", script],
        **spec.pop("container", {}),
    }
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "nodeSelector": {"vk-provider.io/cluster": member},
                "terminationGracePeriodSeconds": 2,
                "containers": [container],
                **spec,
            },
        }
    )


FOREVER = "trap exit TERM; while :; do sleep 1 & wait; done"


class Pods:
    """Queries and actions in one namespace."""

    def __init__(self, world: World, namespace: str) -> None:
        self.world, self.namespace = world, namespace

    def apply(self, text: str) -> None:
        self.world.kubectl("apply", "-n", self.namespace, "-f", "-", stdin=text)

    def get(self, name: str, cluster: str = "") -> dict[str, Any]:
        found: dict[str, Any] | None = self.world.get("pod", name, "-n", self.namespace, cluster=cluster)
        return found or {}

    def uid(self, name: str, cluster: str = "") -> str:
        return str(self.get(name, cluster).get("metadata", {}).get("uid", ""))

    def phase(self, name: str, cluster: str = "") -> str:
        return str(self.get(name, cluster).get("status", {}).get("phase", ""))

    def container(self, name: str) -> dict[str, Any]:
        statuses = self.get(name).get("status", {}).get("containerStatuses") or [{}]
        status: dict[str, Any] = statuses[0]
        return status

    def until_running(self, name: str) -> None:
        self.world.until(f"{name} runs", lambda: self.phase(name) == "Running")

    def reasons(self, name: str) -> set[str]:
        events = self.world.objects("events", "-n", self.namespace, "--field-selector", f"involvedObject.name={name}")
        return {event["reason"] for event in events}


@pytest.fixture
def pods(world: World, namespace: str) -> Pods:
    return Pods(world, namespace)


def test_a_pod_with_the_name_of_a_terminating_pod_runs_as_a_new_pod(world: World, pods: Pods) -> None:
    pods.apply(manifest("twin", FOREVER))
    pods.until_running("twin")
    first = pods.uid("twin")
    world.kubectl("delete", "pod", "twin", "-n", pods.namespace, "--force", "--grace-period=0")
    pods.apply(manifest("twin", FOREVER))
    pods.until_running("twin")
    second = pods.uid("twin")
    assert second != first
    annotations = pods.get("twin", "alpha")["metadata"]["annotations"]
    assert annotations["vk-provider.io/parent-uid"] == second


def test_a_pod_deleted_by_force_is_deleted_in_the_member(world: World, pods: Pods) -> None:
    pods.apply(manifest("forced", FOREVER))
    pods.until_running("forced")
    world.kubectl("delete", "pod", "forced", "-n", pods.namespace, "--force", "--grace-period=0")
    world.until("the member pod is deleted", lambda: not pods.get("forced", "alpha"))


def test_a_deleted_member_pod_is_recreated_and_counts_as_a_restart(world: World, pods: Pods) -> None:
    pods.apply(manifest("back", FOREVER))
    pods.until_running("back")
    uid, old = pods.uid("back"), pods.uid("back", "alpha")
    world.delete_in("alpha", "pod", "back", "-n", pods.namespace)
    world.until("another member pod runs", lambda: pods.uid("back", "alpha") not in ("", old))
    world.until("the restart is counted", lambda: pods.container("back").get("restartCount") == 1)
    pods.until_running("back")
    assert pods.uid("back") == uid


def test_a_pod_that_never_restarts_has_the_end_that_a_deletion_in_the_member_causes(world: World, pods: Pods) -> None:
    pods.apply(manifest("once", FOREVER, restartPolicy="Never"))
    pods.until_running("once")
    world.delete_in("alpha", "pod", "once", "-n", pods.namespace)
    world.until("the pod has failed", lambda: pods.phase("once") == "Failed")
    conditions = {each["type"]: each for each in pods.get("once")["status"]["conditions"]}
    assert conditions["DisruptionTarget"]["reason"] == "DeletedInMember"
    world.until("it is deleted in the member", lambda: not pods.get("once", "alpha"))
    assert pods.phase("once") == "Failed"


def test_a_finished_pod_stays_finished_when_its_member_pod_is_deleted(world: World, pods: Pods) -> None:
    pods.apply(manifest("done", "exit 0", restartPolicy="OnFailure"))
    world.until("the pod has succeeded", lambda: pods.phase("done") == "Succeeded")
    world.delete_in("alpha", "pod", "done", "-n", pods.namespace)
    pods.apply(manifest("after", FOREVER))  # runs after `done` has been processed
    pods.until_running("after")
    assert pods.phase("done") == "Succeeded"
    assert not pods.get("done", "alpha")


def test_a_pod_of_another_client_keeps_its_name_and_the_conflict_is_reported(world: World, pods: Pods) -> None:
    world.create_in("alpha", "namespace", pods.namespace)
    world.create_in(
        "alpha",
        "-f",
        "-",
        "-n",
        pods.namespace,
        stdin=manifest("taken", FOREVER).replace('"nodeSelector": {"vk-provider.io/cluster": "alpha"}, ', ""),
    )
    foreign = pods.uid("taken", "alpha")
    pods.apply(manifest("taken", FOREVER))
    world.until(
        "the pod has a name conflict",
        lambda: pods.container("taken").get("state", {}).get("waiting", {}).get("reason") == "NameConflict",
    )
    assert "NameConflict" in pods.reasons("taken")
    assert pods.uid("taken", "alpha") == foreign
    world.kubectl("delete", "pod", "taken", "-n", pods.namespace)
    assert pods.uid("taken", "alpha") == foreign


def test_pods_are_recreated_after_their_member_namespace_is_deleted(world: World, pods: Pods) -> None:
    pods.apply(manifest("rooted", FOREVER))
    pods.until_running("rooted")
    old = pods.uid("rooted", "alpha")
    world.delete_in("alpha", "namespace", pods.namespace)
    world.until("another member pod runs", lambda: pods.uid("rooted", "alpha") not in ("", old))
    pods.until_running("rooted")


def test_a_provider_killed_during_a_rollout_creates_no_pod_twice(world: World, pods: Pods) -> None:
    run = ("-n", pods.namespace)
    world.kubectl("create", "deployment", "busy", f"--image={IMAGE}", "--replicas=6", *run)
    world.kubectl("rollout", "status", "deployment/busy", "--timeout=180s", *run)
    world.kubectl("rollout", "restart", "deployment/busy", *run)
    world.until("the rollout has started", lambda: len(pods.world.pods("app=busy", namespace=pods.namespace)) > 6)
    world.stop_provider(signal.SIGKILL)
    world.start_provider()
    world.kubectl("rollout", "status", "deployment/busy", "--timeout=180s", *run)

    def names(cluster: str) -> set[tuple[str, str]]:
        found = world.pods("app=busy", cluster=cluster, namespace=pods.namespace)
        return {(pod["metadata"]["name"], pod["metadata"]["annotations"]["vk-provider.io/parent-uid"]) for pod in found}

    def parents() -> set[tuple[str, str]]:
        found = world.pods("app=busy", namespace=pods.namespace)
        return {(pod["metadata"]["name"], pod["metadata"]["uid"]) for pod in found}

    world.until(
        "both sides have the same 6 pods", lambda: len(now := parents()) == 6 and names("alpha") | names("beta") == now
    )
    assert not names("alpha") & names("beta")


def test_the_container_sees_the_values_of_the_parent(world: World, pods: Pods) -> None:
    world.kubectl("create", "configmap", "settings", "--from-literal=colour=green", "-n", pods.namespace)
    world.kubectl("create", "secret", "generic", "password", "--from-literal=word=sesame", "-n", pods.namespace)
    script = "echo $UID_ $NODE_ $COLOUR $(cat /secret/word) > /dev/termination-log"
    env = [
        {"name": "UID_", "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}},
        {"name": "NODE_", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}}},
    ]
    mounts = [{"name": "password", "mountPath": "/secret"}]
    pods.apply(
        manifest(
            "seen",
            script,
            restartPolicy="Never",
            container={"env": env, "volumeMounts": mounts},
            volumes=[{"name": "password", "secret": {"secretName": "password"}}],
        )
    )
    world.until("the pod has succeeded", lambda: pods.phase("seen") == "Succeeded")
    message = pods.container("seen")["state"]["terminated"]["message"]
    assert message.split() == [pods.uid("seen"), "alpha", "green", "sesame"]


def test_a_pod_authenticates_to_the_parents_api_as_its_service_account(world: World, pods: Pods) -> None:
    script = (
        "D=/var/run/secrets/kubernetes.io/serviceaccount; curl -sS --cacert $D/ca.crt"
        ' -H "Authorization: Bearer $(cat $D/token)" -H "Content-Type: application/json" -X POST'
        ' -d \'{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}\''
        " https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/authentication.k8s.io/v1/selfsubjectreviews"
        " > /dev/termination-log"
    )
    pods.apply(manifest("caller", script, restartPolicy="Never", container={"image": IMAGE}))
    world.until("the pod has succeeded", lambda: pods.phase("caller") == "Succeeded")
    answer = json.loads(pods.container("caller")["state"]["terminated"]["message"])
    user = answer["status"]["userInfo"]
    assert user["username"] == f"system:serviceaccount:{pods.namespace}:default"
    assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [pods.uid("caller")]


def test_a_missing_config_map_is_reported_by_the_kubelet_and_the_pod_starts_when_it_exists(
    world: World, pods: Pods
) -> None:
    reference = [{"configMapRef": {"name": "late"}}]
    pods.apply(manifest("patient", FOREVER, container={"envFrom": reference}))
    world.until(
        "the pod has the reason",
        lambda: (
            pods.container("patient").get("state", {}).get("waiting", {}).get("reason") == "CreateContainerConfigError"
        ),
    )
    world.kubectl("create", "configmap", "late", "--from-literal=a=b", "-n", pods.namespace)
    pods.until_running("patient")


def test_a_pod_that_the_member_cannot_schedule_has_the_reason_in_the_parent(world: World, pods: Pods) -> None:
    # Bound without the parent's scheduler: no node of the member has this much memory.
    text = json.loads(manifest("stuck", FOREVER, container={"resources": {"requests": {"memory": "900Ti"}}}))
    text["spec"]["nodeName"] = "alpha"
    pods.apply(json.dumps(text))
    world.until(
        "the pod waits with the member's reason",
        lambda: pods.container("stuck").get("state", {}).get("waiting", {}).get("reason") == "MemberUnschedulable",
    )
    assert "Insufficient memory" in pods.container("stuck")["state"]["waiting"]["message"]
