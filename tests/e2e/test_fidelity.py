"""The environment of containers and the status of pods, in the parent and, as the reference, in a plain cluster."""

from __future__ import annotations

import json
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from demo.world import World

from tests.e2e import probes, shapes
from tests.e2e.probes import Json
from tests.e2e.test_pods import BUSYBOX


@dataclass
class Both:
    """The same pods by name in the parent, pinned to alpha, and in a namespace of alpha."""

    world: World
    namespace: str
    plain_namespace: str
    parents: dict[str, Json]
    plain: dict[str, Json]

    def reports(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        """The reports of the pod in the parent and in the plain cluster, with the same name of the namespace."""
        plain = {
            key: value.replace(self.plain_namespace, self.namespace)
            for key, value in shapes.report(self.plain[name]).items()
        }
        return shapes.report(self.parents[name]), plain

    def show(self, *command: str) -> str:
        """The output of a command in the running container."""
        return self.world.kubectl("exec", "-n", self.namespace, "live", "-c", "main", "--", *command)

    def live(self) -> Json:
        """The running pod."""
        found: Json = self.world.get("pod", "live", "-n", self.namespace)
        return found

    def main(self) -> Json:
        """The status of the container of the running pod."""
        found: Json = self.live()["status"]["containerStatuses"][0]
        return found


@pytest.fixture(scope="module")
def both(world: World) -> Iterator[Both]:
    """Starts all probes at once, and waits for all of them."""
    suffix = uuid.uuid4().hex[:8]
    namespace, plain = f"seen-{suffix}", f"even-{suffix}"  # of the same length: names are compared
    world.kubectl("create", "namespace", namespace)
    world.create_in("alpha", "namespace", plain)
    world.until(
        "both namespaces have a service account",
        lambda: bool(
            world.get("serviceaccount", "default", "-n", namespace)
            and world.get("serviceaccount", "default", "-n", plain, cluster="alpha")
        ),
    )
    world.kubectl("create", "-n", namespace, "-f", "-", stdin=probes.manifests("alpha"))
    world.create_in("alpha", "-n", plain, "-f", "-", stdin=probes.manifests())

    def pods(namespace: str, cluster: str = "") -> dict[str, Json]:
        return {pod["metadata"]["name"]: pod for pod in world.pods(namespace=namespace, cluster=cluster)}

    def stable() -> bool:
        found = [*pods(namespace).values(), *pods(plain, "alpha").values()]
        return len(found) == 2 * len(probes.NAMES) and all(map(shapes.is_stable, found))

    world.until("all probes are stable", stable, 300)
    yield Both(world, namespace, plain, pods(namespace), pods(plain, "alpha"))
    world.kubectl("delete", "namespace", namespace, "--wait=false")
    world.delete_in("alpha", "namespace", plain)


def test_a_container_sees_the_metadata_of_the_parent_pod(both: Both) -> None:
    pod = both.parents["environment"]
    seen = shapes.report(pod)
    assert (seen["UID_"], seen["NAME"], seen["NODE"]) == (pod["metadata"]["uid"], "environment", "alpha")
    assert (seen["NAMESPACE"], seen["ACCOUNT"]) == (both.namespace, "default")
    status = pod["status"]
    assert (seen["POD_IP"], seen["HOST_IP"]) == (status["podIP"], status["hostIP"])


def test_a_container_has_the_same_environment_as_on_a_plain_node(both: Both) -> None:
    seen, plain = both.reports("environment")
    own = {"UID_", "NODE", "POD_IP", "POD_IPS"}
    assert {k: v for k, v in seen.items() if k not in own} == {k: v for k, v in plain.items() if k not in own}
    assert seen["fqdn"].startswith(f"front.web.{both.namespace}.svc.")  # the value is not empty
    assert (seen["WORD"], seen["S_colour"], seen["all"]) == ("sesame", "green", "sesame3")


def test_a_file_with_labels_has_only_those_of_the_parent_pod(both: Both) -> None:
    assert shapes.report(both.parents["environment"])["labels"].split() == ['app="probe"', 'tier="front"']


@pytest.mark.parametrize("name", ["names", "steps", "again", "host", "together"])
def test_a_pod_reports_the_same_as_on_a_plain_node(both: Both, name: str) -> None:
    seen, plain = both.reports(name)
    assert seen == plain
    assert seen


@pytest.mark.parametrize("name", probes.NAMES)
def test_the_status_of_a_pod_is_the_same_as_on_a_plain_node(both: Both, name: str) -> None:
    shown, plain = (Counter(shapes.lines(pods[name])) for pods in (both.parents, both.plain))
    assert (shown - plain, plain - shown) == (Counter(), Counter())
    assert shown


def test_the_status_has_the_pod_level_resources_of_a_running_pod(both: Both) -> None:
    shown, plain = (pods["sharing"]["status"]["resources"] for pods in (both.parents, both.plain))
    assert shown == plain
    assert shown["requests"] == {"cpu": "40m", "memory": "24Mi"}


def test_the_termination_message_falls_back_to_the_log(both: Both) -> None:
    state = both.parents["failing"]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (state["exitCode"], state["message"].strip()) == (7, "last words")


def test_an_active_deadline_is_enforced_and_reported(both: Both) -> None:
    status = both.parents["late"]["status"]
    assert (status["phase"], status["reason"]) == ("Failed", "DeadlineExceeded")


def test_files_follow_the_labels_and_config_maps_of_the_parent(both: Both) -> None:
    run = ("-n", both.namespace)
    both.world.kubectl("patch", "configmap", "settings", *run, "-p", json.dumps({"data": {"colour": "blue"}}))
    copy = f"settings.{both.world.get('namespace', 'kube-system')['metadata']['uid']}"
    both.world.until(
        "the copy is updated",
        lambda: both.world.get("configmap", copy, *run, cluster="alpha")["data"]["colour"] == "blue",
    )
    both.world.kubectl("label", "pod", "live", *run, "tier=back", "--overwrite")  # makes the kubelet update all volumes
    both.world.until("the file with labels is updated", lambda: 'tier="back"' in both.show("cat", "/info/labels"))
    both.world.until("the file of the ConfigMap is updated", lambda: both.show("cat", "/settings/colour") == "blue")


def test_a_resize_reaches_the_container_and_the_status(both: Both) -> None:
    before = both.main()["restartCount"]
    resources = {"requests": {"cpu": "30m"}}
    body = {"spec": {"containers": [{"name": "main", "resources": resources}]}}
    both.world.kubectl("patch", "pod", "live", "-n", both.namespace, "--subresource=resize", "-p", json.dumps(body))

    def resized() -> bool:
        pod = both.live()
        seen: bool = pod["status"]["observedGeneration"] == pod["metadata"]["generation"]
        return seen and dict(both.main()["resources"]["requests"]) == {"cpu": "30m"}

    both.world.until("the resize is complete", resized)
    assert both.main()["restartCount"] == before


def test_a_debug_container_sees_the_processes_of_its_target(both: Both) -> None:
    command = ["sh", "-c", f"tr '\\0' ' ' < /proc/1/cmdline > {probes.REPORT}"]
    options = [f"--image={BUSYBOX}", "--target=main", "--container=debug", "--quiet"]
    both.world.kubectl("debug", "live", "-n", both.namespace, *options, "--", *command)

    def message() -> str:
        for status in both.live()["status"].get("ephemeralContainerStatuses", ()):
            text: str = status["state"].get("terminated", {}).get("message", "")
            return text
        return ""

    both.world.until("the debug container has reported", lambda: "ready" in message())


def test_a_changed_image_restarts_the_container_in_place(both: Both) -> None:
    uid, before = both.live()["metadata"]["uid"], both.main()["restartCount"]
    both.world.kubectl("set", "image", "pod/live", "-n", both.namespace, "main=busybox:1.37")

    def replaced() -> bool:
        status = both.main()
        return status["restartCount"] == before + 1 and bool(status["ready"])

    both.world.until("the container runs the new image", replaced)
    assert both.live()["metadata"]["uid"] == uid
